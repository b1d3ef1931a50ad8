"""``pullback.numpy`` is NumPy: every name, the same answers; twins keep traced values."""

import importlib
import pickle
import subprocess
import sys
from types import FunctionType, ModuleType

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.numpy.twins import twin

MODULES = [
    "numpy",
    "numpy.emath",
    "numpy.fft",
    "numpy.lib",
    "numpy.lib.stride_tricks",
    "numpy.linalg",
    "numpy.polynomial",
    "numpy.polynomial.chebyshev",
    "numpy.polynomial.polynomial",
    "numpy.random",
    "numpy.testing",
]
POLYNOMIALS = ("Polynomial", "Chebyshev", "Legendre", "Hermite", "HermiteE", "Laguerre")
COEFFICIENTS = np.array([0.5, -1.5, 2.0, 0.25])


def numpy_module(name: str) -> ModuleType:
    return np.emath if name == "numpy.emath" else importlib.import_module(name)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_there(name: str) -> None:
    ours = importlib.import_module(name.replace("numpy", "pullback.numpy", 1))
    theirs = numpy_module(name)
    for attribute in (n for n in dir(theirs) if not n.startswith("_")):
        mine, original = getattr(ours, attribute), getattr(theirs, attribute)
        assert attribute in dir(ours)
        # Exceptions, dtypes, constants and settings are the same objects.
        if not isinstance(original, (FunctionType, ModuleType, type(np.sum))):
            own_kind = type(original) if not isinstance(original, type) else original
            if mine is not original and attribute not in pnp.__all__:
                assert isinstance(mine, own_kind) or issubclass(mine, own_kind), attribute
    with pytest.raises(AttributeError, match="no_such_name"):
        ours.no_such_name  # noqa: B018
    with pytest.raises(AttributeError, match="__no_such_name__"):
        ours.__no_such_name__  # noqa: B018


def test_settings_exceptions_and_types_are_the_same_objects() -> None:
    for name in ("errstate", "seterr", "float32", "dtype", "exceptions", "load", "ndarray", "nan"):
        assert getattr(pnp, name) is getattr(np, name), name
    assert pnp.polynomial.polyutils is importlib.import_module(
        "pullback.numpy.polynomial.polyutils"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import pullback.numpy.polynomial.chebyshev as c; c.chebval",
        "from pullback.numpy.polynomial import Polynomial",
        "from pullback.numpy.lib.stride_tricks import sliding_window_view",
        "from pullback.numpy.random import default_rng",
        "from pullback.numpy import r_, c_, s_, ix_, mgrid, ogrid, emath, testing",
    ],
)
def test_submodules_import_as_numpys(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True)


def test_numpy_itself_is_left_alone() -> None:
    assert np.gradient.__wrapped__.__globals__["asanyarray"] is np.asanyarray
    assert type(np.gradient(np.arange(3.0))) is np.ndarray
    assert type(np.r_[1:3]) is np.ndarray
    assert twin(np.float64) is np.float64
    assert twin([1]) == [1]


def test_index_tricks_are_numpys_on_plain_arrays() -> None:
    x, y = np.arange(3.0), np.arange(4, dtype=np.float32)
    same = [
        (np.r_[x, 1, 2:4], pnp.r_[x, 1, 2:4]),
        (np.r_["-1", x[None], x[None]], pnp.r_["-1", x[None], x[None]]),
        (np.r_["0,2", x, x], pnp.r_["0,2", x, x]),
        (np.r_[-1:1:6j, [0] * 3, y], pnp.r_[-1:1:6j, [0] * 3, y]),
        (np.c_[x, x], pnp.c_[x, x]),
        (np.mgrid[0:3, 0:2:5j], pnp.mgrid[0:3, 0:2:5j]),
        (np.ogrid[0:3, 0:2][1], pnp.ogrid[0:3, 0:2][1]),
        (np.ix_([0, 1], [True, False])[1], pnp.ix_([0, 1], [True, False])[1]),
    ]
    for expected, actual in same:
        assert type(actual) is type(expected)
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
    assert pnp.s_[1:2, ::3] == np.s_[1:2, ::3]
    with pytest.raises(ValueError, match="special directives"):
        pnp.r_[x, "r"]


def test_index_tricks_keep_traced_values() -> None:
    x = np.array([0.5, 2.0])
    pb.check_grads(lambda x: pnp.r_[x[0], x * x, 1, 0:2], (x,))
    pb.check_grads(lambda x: pnp.c_[x, x**3, [1, 2]], (x,))
    pb.check_grads(lambda x: pnp.r_["0,2", x, x * x], (x,))
    pb.check_grads(lambda x: np.outer(x, x**2)[pnp.ix_([1, 0], [0])], (x,))


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomial_classes_are_numpys_on_plain_coefficients(name: str) -> None:
    theirs, ours = getattr(np.polynomial, name), getattr(pnp.polynomial, name)
    p, q = theirs(COEFFICIENTS), ours(COEFFICIENTS)
    assert isinstance(q, theirs)
    pairs = [
        (p, q),
        (p * p + 1, q * q + 1),
        (p**3 - p, q**3 - q),
        (p // theirs([1, 2]), q // ours([1, 2])),
        (p % theirs([1, 2]), q % ours([1, 2])),
        (p.deriv(2), q.deriv(2)),
        (p.integ(2, k=[1, 2]), q.integ(2, k=[1, 2])),
        (p.truncate(2), q.truncate(2)),
        (p.cutdeg(1), q.cutdeg(1)),
        (theirs.fromroots([1.0, 2.0]), ours.fromroots([1.0, 2.0])),
        (theirs.basis(3), ours.basis(3)),
        (theirs.identity(), ours.identity()),
    ]
    for expected, actual in pairs:
        np.testing.assert_array_equal(actual.coef, expected.coef)
        np.testing.assert_array_equal(actual.domain, expected.domain)
    np.testing.assert_array_equal(p(np.arange(3.0)), q(np.arange(3.0)))
    np.testing.assert_array_equal(p.roots(), q.roots())
    assert str(p) == str(q)
    assert repr(p) == repr(q)
    assert q == q.copy()


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomial_classes_keep_traced_coefficients(name: str) -> None:
    kind = getattr(pnp.polynomial, name)

    def values(coefficients: np.ndarray, x: np.ndarray) -> tuple:
        p = kind(coefficients)
        return (p * p - p + kind([1.0, 2.0]))(x), p.deriv()(x), p.integ(lbnd=0.5)(x), (p / 3)(x)

    pb.check_grads(values, (COEFFICIENTS, np.array([0.3, -0.6])))


def test_the_old_polynomial_class_keeps_traced_coefficients() -> None:
    def values(coefficients: np.ndarray, x: np.ndarray) -> tuple:
        p = pnp.poly1d(coefficients)
        return (p * p - p + 1)(x), p.deriv()(x), p.integ(k=2.0)(x), (p**2)(x), p[1]

    pb.check_grads(values, (COEFFICIENTS, np.array([0.3, -0.6])))
    p, q = np.poly1d(COEFFICIENTS), pnp.poly1d(COEFFICIENTS)
    assert str(p * p) == str(q * q)
    np.testing.assert_array_equal(p.r, q.r)


def test_a_polynomial_survives_a_pickle() -> None:
    p = pnp.polynomial.Polynomial(COEFFICIENTS)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(p)).coef, COEFFICIENTS)
