"""Every attribute of ``ndarray``: NumPy's answer, or a refusal that names it and a way out."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.core.array import Array
from pullback.errors import PullbackError, TracedValueError

X = np.array([[1.5, -2.0, 0.25], [4.0, 3.5, -1.0]])
SCALAR = np.float64(2.6)


def seen(look: Callable[[Any], Any], x: Any = X) -> Any:
    """What ``look`` gives on a traced array; arrays as plain ones."""
    found = []

    def f(a: Any) -> Any:
        found.append(look(a))
        return np.sum(a)

    pb.grad(f)(x)
    (result,) = found
    return result


def plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if type(value) is Array:
        return value.traced_by.concrete(value.frozen(), "a test")
    return value


# How each attribute is used; methods that write return the array.
USES: dict[str, Callable[[Any], Any]] = {
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "all": lambda x: x.all(),
    "any": lambda x: x.any(axis=0),
    "argmax": lambda x: x.argmax(),
    "argmin": lambda x: x.argmin(axis=1),
    "argpartition": lambda x: x.argsort(axis=1)[:, 0],
    "argsort": lambda x: x.argsort(axis=0),
    "astype": lambda x: x.astype(np.float32),
    "base": lambda x: x.base is None,
    "choose": lambda x: pnp.array([[0, 1, 0], [1, 1, 0]]).choose([x, 10 * x]),
    "clip": lambda x: x.clip(-1, 1),
    "compress": lambda x: x.compress([True, False, True], axis=1),
    "conj": lambda x: x.conj(),
    "conjugate": lambda x: x.conjugate(),
    "copy": lambda x: x.copy(),
    "cumprod": lambda x: x.cumprod(axis=1),
    "cumsum": lambda x: x.cumsum(),
    "device": lambda x: x.device,
    "diagonal": lambda x: x.diagonal(1),
    "dot": lambda x: x.dot(x.T),
    "dtype": lambda x: x.dtype,
    "fill": lambda x: (x.fill(7), x)[1],
    "flags": lambda x: (x.T.flags.f_contiguous, x[:, ::2].flags.c_contiguous, x.flags["WRITEABLE"]),
    "flat": lambda x: (x.flat[4], x.flat[1:3], len(x.flat), list(x.flat)),
    "flatten": lambda x: x.flatten("F"),
    "imag": lambda x: x.imag,
    "item": lambda x: pnp.array([3.0]).item(),
    "itemsize": lambda x: x.itemsize,
    "max": lambda x: x.max(axis=0),
    "mean": lambda x: x.mean(axis=1, keepdims=True),
    "min": lambda x: x.min(),
    "nbytes": lambda x: x.nbytes,
    "ndim": lambda x: x.ndim,
    "nonzero": lambda x: x.nonzero(),
    "partition": lambda x: (x.sort(axis=1), x)[1],
    "prod": lambda x: x.prod(axis=0),
    "put": lambda x: (x.put([0, 4], [8.0, 9.0]), x)[1],
    "ravel": lambda x: x.ravel("F"),
    "real": lambda x: x.real,
    "repeat": lambda x: x.repeat(2, axis=0),
    "reshape": lambda x: x.reshape(3, 2, order="F"),
    "round": lambda x: x.round(),
    "searchsorted": lambda x: pnp.array([1.0, 2.0]).searchsorted(x),
    "shape": lambda x: x.shape,
    "size": lambda x: x.size,
    "sort": lambda x: (x.sort(), x)[1],
    "squeeze": lambda x: x[:1].squeeze(),
    "std": lambda x: x.std(axis=0),
    "strides": lambda x: (x.strides, x.T.strides, x[:, ::-2].strides, (x.T * 2).strides),
    "sum": lambda x: x.sum(axis=1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "take": lambda x: x.take([0, 5]),
    "tolist": lambda x: pnp.array([[3.0], [4.0]]).tolist(),
    "trace": lambda x: (x.trace(), x.trace(1), x.trace(offset=-1, axis1=1, axis2=0)),
    "transpose": lambda x: x.transpose(1, 0),
    "var": lambda x: x.var(),
    "view": lambda x: (x.view(), x.view(float), x.view(np.ndarray)),
    "__contains__": lambda x: (4.0 in x, 5.0 in x),
    "__copy__": lambda x: copy.copy(x),
    "__deepcopy__": lambda x: copy.deepcopy({"w": [x]})["w"],
    "__rdivmod__": lambda x: divmod(7.0, x),
    "__divmod__": lambda x: divmod(x, 2.0),
    "__len__": len,
    "__iter__": lambda x: [row[0] for row in x],
    "__getitem__": lambda x: x[1, ::2],
    "__array_ufunc__": np.negative,
    "__array_function__": np.transpose,
}
REFUSED = {
    "__array_finalize__": lambda x: x.__array_finalize__,
    "__array_interface__": lambda x: x.__array_interface__,
    "__array_namespace__": lambda x: x.__array_namespace__(),
    "__array_struct__": lambda x: x.__array_struct__,
    "__array_wrap__": lambda x: x.__array_wrap__(X),
    "__class_getitem__": lambda x: x.__class_getitem__,
    "__delitem__": lambda x: x.__delitem__(0),
    "__dlpack__": lambda x: x.__dlpack__(),
    "__dlpack_device__": lambda x: x.__dlpack_device__(),
    "__setstate__": lambda x: x.__setstate__(()),
    "byteswap": lambda x: x.byteswap(),
    "ctypes": lambda x: x.ctypes,
    "data": lambda x: x.data,
    "dump": lambda x: x.dump("f"),
    "dumps": lambda x: x.dumps(),
    "getfield": lambda x: x.getfield(np.float32),
    "resize": lambda x: x.resize((3,)),
    "setfield": lambda x: x.setfield(1.0, float),
    "setflags": lambda x: x.setflags(write=False),
    "to_device": lambda x: x.to_device("cpu"),
    "tobytes": lambda x: x.tobytes(),
    "tofile": lambda x: x.tofile("f"),
    "item": lambda x: x[0, 0].item(),
    "tolist": lambda x: x.tolist(),
    "view": lambda x: x.view(np.int64),
    "__float__": lambda x: float(x[0, 0]),
    "__int__": lambda x: int(x[0, 0]),
    "__index__": lambda x: [1, 2][x[0, 0]],
    "__complex__": lambda x: complex(x[0, 0]),
    "__array__": np.asarray,
}
# Python's own, the operators (tests/core/test_array.py), and pickling (tests/transforms).
PYTHON = set(dir(object)) | {"__array_priority__", "__buffer__", "__hash__", "__doc__"}
BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
OTHERS = "neg pos abs invert lt le gt ge eq ne bool setitem"
OPERATORS = {f"__{p}{name}__" for name in BINARY.split() for p in ("", "r", "i")}
OPERATORS |= {f"__{name}__" for name in OTHERS.split()}


def test_every_attribute_is_looked_at() -> None:
    listed = {*USES, *REFUSED, *PYTHON, *OPERATORS}
    private = {"_set_dtype", "_set_shape"}  # NumPy's own, since 2.5
    assert set(dir(np.ndarray)) - listed - private == set()


@pytest.mark.parametrize("name", USES)
def test_what_it_has_is_numpys(name: str) -> None:
    assert hasattr(Array, name) or seen(lambda x: hasattr(x, name))
    expected = USES[name](X.copy())
    got = plain(seen(USES[name], X.copy()))
    pairs = (np.ravel(np.array(value, object)) for value in (got, expected))
    for a, b in zip(*pairs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_has_not_is_refused_by_name(name: str) -> None:
    with pytest.raises((PullbackError, AttributeError, ValueError)) as caught:
        seen(REFUSED[name])
    text = str(caught.value)
    assert "Fix: " in text
    assert "test_attributes.py" in text
    said = {"__delitem__": "cannot delete array elements"}.get(name, name.strip("_"))
    assert said in text or "value traced by grad" in text


def test_an_unknown_attribute_is_unknown() -> None:
    with pytest.raises(AttributeError, match="traced arrays have no attribute 'colour'"):
        seen(lambda x: x.colour)


class TestFlat:
    def test_reading_and_its_gradient(self) -> None:
        gradient = pb.grad(lambda x: x.flat[4] ** 2 + np.sum(x.T.flat[[0, 1]]))(X)
        np.testing.assert_array_equal(gradient, [[1, 0, 0], [1, 7, 0]])

    @pytest.mark.parametrize("key", [0, -1, slice(1, 4), slice(None, None, 2), [0, 3]])
    def test_writing(self, key: Any) -> None:
        def fill(x: Any) -> Any:
            x.flat[key] = 7.0 if isinstance(key, int) else [7.0, 8.0]
            return x

        np.testing.assert_array_equal(plain(seen(fill, X.copy())), fill(X.copy()))
        turned = lambda x: fill(x.T)
        np.testing.assert_array_equal(plain(seen(turned, X.copy())), turned(X.copy()))

    def test_writing_all_of_it(self) -> None:
        def fill(x: Any) -> Any:
            y = x * 1.0
            y.flat = [1.0, 2.0]
            return y

        np.testing.assert_array_equal(plain(seen(fill)), fill(X))


class TestRound:
    def test_a_scalar_with_digits(self) -> None:
        assert plain(seen(lambda x: round(x, 1), SCALAR)) == round(SCALAR, 1)

    def test_a_scalar_to_an_int_cuts_its_gradient(self) -> None:
        with pytest.raises(TracedValueError, match=r"round\(\) of a traced value(.|\n)*np\.round"):
            seen(round, SCALAR)

    def test_an_array_has_none(self) -> None:
        with pytest.raises(TypeError, match="__round__"):
            seen(round)


class TestSharesMemory:
    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (lambda x: x, lambda x: x.T),
            (lambda x: x[0], lambda x: x[1]),
            (lambda x: x[:, ::2], lambda x: x[:, 1::2]),
            (lambda x: x[0], lambda x: x.reshape(-1)[2:4]),
            (lambda x: x, lambda x: x.copy()),
            (lambda x: x.T.ravel(), lambda x: x),
            (lambda x: x[0, 0], lambda x: x),
            (lambda x: x * 2, lambda x: x),
        ],
    )
    def test_as_numpy_says(self, a: Any, b: Any) -> None:
        look = lambda x: np.shares_memory(a(x), b(x))
        assert seen(look) == look(X)

    def test_with_a_plain_array(self) -> None:
        assert not seen(lambda x: np.may_share_memory(x, X))


ROWS: dict[str, tuple[Any, Any]] = {
    "slogdet": (lambda x: np.linalg.slogdet(x[:, :2]).logabsdet, X),
    "vecdot": (lambda x: np.vecdot(x, x, axis=0), X),
    "repeat": (lambda x: np.repeat(x, 3, axis=0), np.array(2.0)),
    "size": (lambda x: np.size(x, (0, 1)), X),
    "convolve": (lambda x: np.convolve(x[0], x[1], mode=1), X),
    "zeros like": (lambda x: np.zeros(3, like=x), X),
    "cross": (lambda x: np.cross(x[:, 0], x[:, 1]), X),
}


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors:DeprecationWarning")
@pytest.mark.parametrize("name", ROWS)
def test_what_it_has_is_numpys_too(name: str) -> None:
    look, x = ROWS[name]
    if name == "cross" and np.lib.NumpyVersion(np.__version__) >= "2.5.0":
        for run in (lambda: look(x), lambda: seen(look, x)):
            with pytest.raises(ValueError, match="3"):
                run()
        return
    np.testing.assert_allclose(plain(seen(look, x)), look(x), rtol=1e-14)


@pytest.mark.parametrize("wrap", [pb.grad, lambda f: pb.compile(pb.grad(f))])
def test_nditer_is_refused_with_the_remedy(wrap: Any) -> None:
    square = lambda np: lambda x: sum(v**2 for v in np.nditer(x))
    with pytest.raises(TracedValueError, match=r"test_attributes\.py:\d+(.|\n)*pullback\.numpy"):
        wrap(square(np))(X)
    np.testing.assert_array_equal(wrap(square(pnp))(X), 2 * X)


def test_an_error_elsewhere_keeps_its_own_words() -> None:
    def f(x: Any) -> Any:
        with contextlib.suppress(TracedValueError):
            float(x[0, 0])
        return np.sum(x) + len(3)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="has no len"):
        pb.grad(f)(X)
