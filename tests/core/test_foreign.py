"""Arrays with rules of their own give what their rules say, or are refused by name."""

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr

import pullback as pb
from pullback.errors import ForeignArrayError, PullbackError

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass")


class Thousand(np.ndarray):
    """Every result of its operations is multiplied by 1000."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [np.asarray(a) if isinstance(a, Thousand) else a for a in inputs]
        return getattr(ufunc, method)(*plain, **kwargs) * 1000


class Quantity:
    """Not an ndarray, but an array to NumPy, with operators."""

    __array_priority__ = 20

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values

    def __mul__(self, other: Any) -> Any:
        return Quantity(self.values * other * 7)

    __rmul__ = __mul__


class Noted(np.ndarray):
    """A subclass without rules."""

    def __array_finalize__(self, base: Any) -> None:
        self.note = getattr(base, "note", "")


ROW = [1.0, 2.0, 3.0]
FOREIGN: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "masked": (
        np.ma.masked_values([1.0, -999.0, 3.0], -999.0),
        "numpy.ma.MaskedArray",
        lambda m: m.filled(2.0),
    ),
    "matrix": (np.matrix([ROW]), "numpy.matrix", lambda m: np.asarray(m)[0]),
    "series": (pd.Series(ROW, [2, 1, 0]), "pandas.Series", lambda x: x.to_numpy()),
    "frame": (pd.DataFrame([ROW]), "pandas.DataFrame", lambda x: x.to_numpy()[0]),
    "index": (pd.Index(ROW), "pandas.Index", lambda x: x.to_numpy()),
    "nullable": (pd.array(ROW, dtype="Float64"), "FloatingArray", lambda x: x.to_numpy()),
    "labelled": (xr.DataArray(ROW, dims="x"), "xarray.DataArray", lambda x: x.data),
    "variable": (xr.Variable("x", ROW), "xarray.Variable", lambda x: x.data),
    "dataset": (xr.Dataset({"a": ("x", ROW)}), "xarray.Dataset", lambda x: x["a"].data),
    "sparse matrix": (sp.csr_matrix([ROW]), "scipy.sparse.csr_matrix", lambda x: x.toarray()[0]),
    "sparse array": (sp.csr_array([ROW]), "scipy.sparse.csr_array", lambda x: x.toarray()[0]),
    "subclass": (np.array(ROW).view(Thousand), "Thousand", lambda x: np.array(x)),
    "protocol": (Quantity(ROW), "Quantity", lambda x: np.array(x)),
}
USES: dict[str, Callable[[Any, Any], Any]] = {
    "w + t": operator.add,
    "w @ t": operator.matmul,
    "w < t": operator.lt,
    "w **= t": lambda w, t: operator.ipow(w.copy(), t),
    "np.multiply": np.multiply,
    "np.maximum": np.maximum,
    "np.where": lambda w, t: np.where(w > 0, t, w),
    "np.where condition": lambda w, t: np.where(t, w, w),
    "np.concatenate": lambda w, t: np.concatenate([w, t]),
    "np.dot": np.dot,
    "np.einsum": lambda w, t: np.einsum("i,i", w, t),
    "np.interp": lambda w, t: np.interp(w, t, t),
    "np.clip": lambda w, t: np.clip(w, t, None),
    "np.sum(where=)": lambda w, t: np.sum(w, where=t),
    "np.append": np.append,
    "np.average(weights=)": lambda w, t: np.average(w, weights=t),
    "np.searchsorted": lambda w, t: np.searchsorted(w, t),
    "np.copyto": lambda w, t: np.copyto(w.copy(), t),
    "w[0:] = t": lambda w, t: w.copy().__setitem__(slice(0, None), t),
    "w * [t, t]": lambda w, t: w * [t, t],
    "np.stack": lambda w, t: np.stack((w, t)),
    "pb.numpy.softmax": lambda w, t: w * pb.numpy.softmax(t),
}


def differentiate(use: Callable[[Any, Any], Any], t: Any) -> None:
    pb.grad(lambda w: (use(w, t), np.sum(w))[1])(np.ones(3))


MEANT = {(kind, "w @ t") for kind in ("sparse matrix", "sparse array")}  # its own product


@pytest.mark.parametrize(
    ("kind", "use"), [pair for pair in itertools.product(FOREIGN, USES) if pair not in MEANT]
)
def test_as_an_operand_it_is_refused_by_name(kind: str, use: str) -> None:
    t, name, _ = FOREIGN[kind]
    with pytest.raises(ForeignArrayError) as caught:
        differentiate(USES[use], t)
    text = str(caught.value)
    assert name in text
    assert "test_foreign.py" in text
    assert "Fix: " in text


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_remedy_works(kind: str) -> None:
    t, _, remedy = FOREIGN[kind]
    np.testing.assert_array_equal(pb.grad(lambda w: np.sum(w * remedy(t)))(np.ones(3)), ROW)


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "grad": lambda t: pb.grad(np.sum)(t),
    "in a container": lambda t: pb.grad(lambda p: np.sum(p["w"][0]))({"w": [t]}),
    "vjp": lambda t: pb.vjp(np.sin, t),
    "jvp primal": lambda t: pb.jvp(np.sin, (t,), (np.ones(3),)),
    "jvp tangent": lambda t: pb.jvp(np.sin, (np.ones(3),), (t,)),
    "cotangent": lambda t: pb.vjp(np.sin, np.ones(3))[1](t),
    "vmap": lambda t: pb.vmap(np.sin)(t),
    "compile": lambda t: pb.compile(np.sin)(t),
    "compile, captured": lambda t: pb.compile(lambda w: w * t)(np.ones(3)),
    "compile, returned": lambda t: pb.compile(lambda w: (w, t))(np.ones(3)),
    "checkpoint, returned": lambda t: pb.checkpoint(lambda w: (w, t))(np.ones(3)),
    "scan": lambda t: pb.scan(lambda c, x: (c + x, c), 0.0, t),
    "cond": lambda t: pb.cond(True, np.sin, np.cos, t),
    "hessian": lambda t: pb.hessian(lambda x: np.sum(x**2))(t),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", FOREIGN)
def test_as_an_argument_it_is_refused_by_name(kind: str, transform: str) -> None:
    t, name, _ = FOREIGN[kind]
    with pytest.raises(ForeignArrayError) as caught:
        TRANSFORMS[transform](t)
    assert name in str(caught.value)


def test_a_container_is_named_by_its_path() -> None:
    with pytest.raises(ForeignArrayError, match=r"args\[0\]\['w'\]\[0\] is a pandas\.Series"):
        pb.grad(lambda p: np.sum(p["w"][0]))({"w": [pd.Series(ROW)]})


ON_THE_LEFT: dict[str, Callable[[Any, Any], Any]] = {
    "t * w": operator.mul,
    "t @ w": operator.matmul,
    "t < w": operator.lt,
    "t += w": lambda t, w: operator.iadd(t.copy(), w),
    "t ** w": operator.pow,
    "t.dot(w)": lambda t, w: t.dot(w),
    "np.multiply(t, w)": np.multiply,
    "type(t)(w)": lambda t, w: type(t)(w),
}


@pytest.mark.parametrize("use", ON_THE_LEFT)
@pytest.mark.parametrize("kind", FOREIGN)
def test_on_the_left_its_own_rules_hold_or_it_is_refused(kind: str, use: str) -> None:
    """What comes out has the values that the same line gives on plain arrays."""
    t, function = FOREIGN[kind][0], ON_THE_LEFT[use]
    w = np.array([1.5, 2.5, 0.5])
    found = []
    try:
        with np.errstate(all="ignore"):
            pb.grad(lambda w: (found.append(function(t, w)), np.sum(w))[1])(w)
    except (PullbackError, TypeError, AttributeError, ValueError, NotImplementedError):
        return
    expected = function(t, w)
    (result,) = found
    bare = (
        getattr(result, "data", result)
        if isinstance(result, (xr.DataArray, xr.Variable))
        else result
    )
    if isinstance(result, xr.Dataset):
        bare, expected = result["a"].data, expected["a"].data
    bare = bare.value if type(bare) is pb.core.array.Array else bare
    np.testing.assert_array_equal(np.asarray(bare), np.asarray(expected))


@pytest.mark.parametrize(
    ("line", "package"),
    [
        (lambda w: np.ma.array(w), "numpy.ma reads"),
        (lambda w: np.ma.masked_where(np.ones(3, bool), w), "numpy.ma reads"),
        (lambda w: np.asmatrix(w), "numpy.matrix reads"),
        (lambda w: sp.csr_array([ROW]).multiply(w), "scipy.sparse reads"),
        (lambda w: sp.csr_array(w[None]), "scipy.sparse reads"),
        (lambda w: pd.Series(ROW) * w, "pandas reads"),
        (lambda w: pd.DataFrame({"a": ROW}).dot(w[:1]), "pandas reads"),
        (lambda w: pd.Series(w), "pandas reads"),
    ],
)
def test_what_reads_a_traced_array_is_named_with_the_users_line(line: Any, package: str) -> None:
    with pytest.raises(ForeignArrayError) as caught:
        pb.grad(lambda w: (line(w), np.sum(w))[1])(np.ones(3))
    assert package in str(caught.value)
    assert "test_foreign.py" in str(caught.value)


class TestValues:
    """The right number, or a refusal: never that of the bare elements."""

    def test_masked_elements_do_not_count(self) -> None:
        m = FOREIGN["masked"][0]
        with pytest.raises(ForeignArrayError, match="MaskedArray"):
            pb.value_and_grad(lambda p: np.mean((p - m) ** 2))(np.zeros(3))
        known, values = ~np.ma.getmaskarray(m), m.filled(0.0)  # as the message says

        def loss(p: Any) -> Any:
            return np.sum(np.where(known, (p - values) ** 2, 0.0)) / known.sum()

        value, grad = pb.value_and_grad(loss)(np.zeros(3))
        assert value == np.mean((np.zeros(3) - m) ** 2) == 5.0
        np.testing.assert_array_equal(grad, [-1.0, 0.0, -3.0])

    def test_labels_are_aligned(self) -> None:
        s, t = pd.Series([1.0, 2.0, 3.0], [2, 1, 0]), pd.Series([10.0, 20.0, 30.0])
        for loss in (
            lambda w: (w * s * t).sum(),
            lambda w: (w * s).std(),
            lambda w: (s * w * t).sum(),
            lambda w: pd.DataFrame({"a": s}).mul(w, axis=0).mean(),
        ):
            with pytest.raises(ForeignArrayError, match="pandas"):
                pb.value_and_grad(loss)(np.ones(3))
        aligned = s.reindex(t.index).to_numpy() * t.to_numpy()
        value, _ = pb.value_and_grad(lambda w: (w * aligned).sum())(np.ones(3))
        assert value == (np.ones(3) * s * t).sum() == 100.0

    def test_a_star_between_matrices_is_a_product(self) -> None:
        q = sp.csr_matrix([[1.0, 2.0], [3.0, 4.0]]).todense()
        w = np.array([1.0, 2.0])
        with pytest.raises(ForeignArrayError, match=r"multiply|products of matrices with @"):
            pb.value_and_grad(lambda w: np.sum(np.square(q * w.reshape(2, 1))))(w)
        plain = np.asarray(q)
        value, _ = pb.value_and_grad(lambda w: np.sum(np.square(plain @ w.reshape(2, 1))))(w)
        assert value == np.sum(np.square(q * w.reshape(2, 1))) == 146.0

    def test_a_protocol_on_the_left_has_its_say(self) -> None:
        s = FOREIGN["subclass"][0]
        value, grad = pb.value_and_grad(lambda w: np.sum(np.multiply(s, w)))(np.ones(3))
        assert value == 6000.0
        np.testing.assert_array_equal(grad, [1000.0, 2000.0, 3000.0])

    def test_xarray_computes_on_traced_arrays(self) -> None:
        """A labelled array on the left aligns by its own rules and keeps the traced array."""
        data = xr.DataArray([1.0, 2.0, 3.0], dims="x")
        value, grad = pb.value_and_grad(lambda w: (data * w).data.sum())(np.ones(3))
        assert value == 6.0
        np.testing.assert_array_equal(grad, ROW)
        with pytest.raises(ForeignArrayError, match=r"take its bare array x\.data"):
            pb.grad(lambda w: (data * w).sum())(np.ones(3))


class TestPlain:
    """What has no rules of its own is an array like any other."""

    def test_a_subclass_without_rules(self) -> None:
        t = np.array(ROW).view(Noted)
        np.testing.assert_array_equal(pb.grad(lambda w: np.sum(w * t))(np.ones(3)), ROW)
        grad = pb.grad(lambda x: np.sum(x**2))(t)
        assert type(grad) is np.ndarray
        np.testing.assert_array_equal(grad, 2 * np.array(ROW))
        np.testing.assert_array_equal(pb.compile(lambda w: w * t)(np.ones(3)), ROW)

    def test_a_file_in_memory(self, tmp_path: Any) -> None:
        np.save(tmp_path / "x.npy", np.array(ROW))
        t = np.load(tmp_path / "x.npy", mmap_mode="r")
        np.testing.assert_array_equal(pb.grad(lambda w: np.sum(w * t))(np.ones(3)), ROW)
        np.testing.assert_array_equal(pb.grad(lambda x: np.sum(x**2))(t), 2 * np.array(ROW))

    def test_an_object_that_only_holds_an_array(self) -> None:
        class Column:
            def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
                return np.array(ROW)

        np.testing.assert_array_equal(pb.grad(lambda w: np.sum(w * Column()))(np.ones(3)), ROW)
