"""Functions that call the user's function for each part, against NumPy's."""

import numpy as np
import pytest
from tests.numpy.oracle import check

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import TracedValueError, UnsupportedError

X = np.array([[1.5, 2.0, 0.7], [0.3, 1.1, 2.2]])


def test_apply_along_axis() -> None:
    check(lambda x: np.apply_along_axis(np.sum, 1, x), X)
    check(lambda x: np.apply_along_axis(lambda row: row * row[0], 0, x), X)
    check(lambda x: np.apply_along_axis(lambda r: np.outer(r, r), -1, x[None]), X)
    check(lambda x: np.apply_along_axis(lambda r, k, power: k * r**power, 1, x, 2, power=3), X)
    with pytest.raises(ValueError, match="dimensions are 0"):
        pb.grad(lambda x: np.apply_along_axis(np.sum, 1, x[:0]).sum())(X)


class TestVectorize:
    def test_branches_per_element(self) -> None:
        bounded = pnp.vectorize(lambda x, top: x * x if x < top else top * 1.0)
        pb.check_grads(lambda x: bounded(x, np.array([1.0, 5.0, 1.0])), (X,))
        np.testing.assert_array_equal(bounded(X, 1.0), np.where(X < 1, X * X, 1))

    def test_a_function_that_closes_over_a_traced_value(self) -> None:
        powers = np.arange(4)
        pb.check_grads(lambda x: pnp.vectorize(lambda k: x**k)(powers), (1.3,))

    def test_several_results_keywords_and_types(self) -> None:
        both = pnp.vectorize(lambda x, *, k: (x * k, x**k), otypes=[np.float32, float])
        a, b = pb.vjp(lambda x: both(x, k=2), X)[0]
        assert (a.dtype, b.dtype) == (np.float32, np.float64)
        pb.check_grads(lambda x: both(x, k=2)[1], (X,))
        polynomial = pnp.vectorize(lambda x, c: c[0] + c[1] * x, excluded=[1])
        pb.check_grads(lambda x, c: polynomial(x, c), (X, np.array([0.5, 2.0])))

    def test_a_signature(self) -> None:
        dot = pnp.vectorize(lambda a, b: (a * b).sum(), signature="(n),(n)->()")
        pb.check_grads(dot, (X, X[0]))
        np.testing.assert_allclose(dot(X, X[0]), X @ X[0])

    def test_as_a_decorator(self) -> None:
        @pnp.vectorize(doc="twice")
        def double(x: float) -> float:
            return 2 * x

        assert double.__doc__ == "twice"
        np.testing.assert_array_equal(pb.grad(lambda x: double(x).sum())(X), np.full((2, 3), 2.0))

    def test_no_elements(self) -> None:
        with pytest.raises(ValueError, match="size 0 inputs"):
            pb.vjp(lambda x: pnp.vectorize(np.sin)(x[:0]), X)
        empty = pb.vjp(lambda x: pnp.vectorize(np.sin, otypes="d")(x[:0]), X)[0]
        assert empty.shape == (0, 3)

    def test_compiled(self) -> None:
        square = pb.compile(pb.grad(lambda x: pnp.vectorize(lambda e: e**3)(x).sum()))
        np.testing.assert_allclose(square(X), 3 * X**2)


def test_ndenumerate() -> None:
    def weighted(x: np.ndarray) -> float:
        return sum(x_ij * (1 + i + 2 * j) for (i, j), x_ij in pnp.ndenumerate(x))

    np.testing.assert_array_equal(pb.grad(weighted)(X), [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]])
    assert list(pnp.ndenumerate(X)) == list(np.ndenumerate(X))


class TestNditer:
    def test_reading(self) -> None:
        pb.check_grads(lambda x: sum(v**3 for v in pnp.nditer(x)), (X,))

        def weighted(x: np.ndarray) -> float:
            total = 0.0
            it = pnp.nditer(x, flags=["multi_index", "c_index"])
            while not it.finished:
                total = total + it[0] * (1 + it.multi_index[0]) * it.index
                it.iternext()
            return total

        pb.check_grads(weighted, (X,))
        assert pb.vjp(weighted, X)[0] == weighted(X)

    def test_writing_through_the_elements(self) -> None:
        def squared(x: np.ndarray) -> np.ndarray:
            y = pnp.zeros_like(x)
            with pnp.nditer([x, y], op_flags=[["readonly"], ["writeonly"]]) as it:
                for a, b in it:
                    b[...] = a * a
            return y

        pb.check_grads(squared, (X,))
        np.testing.assert_array_equal(squared(X), X * X)

    def test_in_place(self) -> None:
        def doubled(x: np.ndarray) -> np.ndarray:
            y = x.copy()
            for v in pnp.nditer(y, op_flags=["readwrite"]):
                v[...] = 2 * v
            return y

        np.testing.assert_array_equal(pb.vjp(doubled, X)[0], doubled(X))

    def test_broadcasting_and_fortran_index(self) -> None:
        def pairs(x: np.ndarray, y: np.ndarray) -> list:
            return [a * b for a, b in pnp.nditer([x, y])]

        pb.check_grads(lambda x, y: np.stack(pairs(x, y)), (X, X[0]))
        it = pb.vjp(lambda x: [pnp.nditer(x, flags=["f_index"]).index, x][1], X)
        np.testing.assert_array_equal(it[0], X)

    def test_what_asks_for_memory_is_refused(self) -> None:
        for flags in (["external_loop"], ["buffered"]):
            with pytest.raises(UnsupportedError, match=flags[0]):
                pb.grad(lambda x, flags=flags: sum(pnp.nditer(x, flags=flags)))(X)
        with pytest.raises(UnsupportedError, match="an operand to allocate"):
            pb.grad(lambda x: sum(pnp.nditer([x, None])))(X)
        with pytest.raises(ValueError, match="zero-sized"):
            pb.grad(lambda x: sum(pnp.nditer(x[:0])))(X)
        with pytest.raises(ValueError, match="read-only"):
            pb.grad(lambda x: [v.__setitem__(..., 1.0) for v in pnp.nditer(x)])(X)
        with pytest.raises(ValueError, match="multi-index"):
            pb.grad(lambda x: pnp.nditer(x).multi_index)(X)


def test_plain_numpys_loops_name_the_import_that_works() -> None:
    for call in (
        lambda x, numpy: numpy.vectorize(lambda v: v * v)(x).sum(),
        lambda x, numpy: numpy.polynomial.Polynomial(x[0])(2.0),
        lambda x, numpy: numpy.array([x[0, 0], x[0, 1]]).sum(),
    ):
        with pytest.raises(TracedValueError, match=r"import pullback\.numpy as np"):
            pb.grad(call)(X, np)
        assert np.any(pb.grad(call)(X, pnp))


def test_values_are_shown_without_a_word() -> None:
    def loss(x: np.ndarray) -> np.ndarray:
        shown.append("%.2f %d" % (x[0, 0], x[0, 1]))  # noqa: UP031
        shown.append(f"{x[0, 2]:.1f} {x.sum():>6.2f}")
        np.testing.assert_allclose(x, x + 1e-12)
        pnp.testing.assert_equal(x, x)
        with pytest.raises(AssertionError, match="Not equal"):
            np.testing.assert_allclose(x, x + 1)
        return np.sum(x**2)

    shown: list[str] = []
    np.testing.assert_array_equal(pb.grad(loss)(X), 2 * X)
    assert shown == ["1.50 2", "0.7   7.80"]
    with pytest.raises(TracedValueError, match=r"float\(\)"):
        pb.grad(lambda x: float(x[0, 0]) * 5 % 3)(X)


def test_lists_of_traced_values_fold() -> None:
    def loss(x: np.ndarray) -> np.ndarray:
        first, last = x[0, 0], x[1, 2]
        return (
            pnp.sum([first, last])
            + pnp.mean([first, [last, 1.0][0]]) ** 2
            + pnp.linalg.norm([first, last])
            + pnp.dot([first, last], [1.0, 2.0])
            + pnp.concatenate([[first], [last, 3.0]])[1]
        )

    pb.check_grads(loss, (X,))
    np.testing.assert_allclose(pb.vjp(loss, X)[0], loss(X))
