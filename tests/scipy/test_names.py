"""Modules that stand for SciPy's have their names, and no others."""

import importlib

import pytest
import scipy.linalg

import pullback as pb
from pullback.scipy.names import names_of

MODULES = ["integrate", "interpolate", "linalg", "ndimage", "signal", "sparse", "special"]


@pytest.mark.parametrize("name", [*MODULES, "spatial.distance", "sparse.linalg"])
def test_each_has_the_names_of_scipys(name: str) -> None:
    own = importlib.import_module(f"pullback.scipy.{name}")
    original = importlib.import_module(f"scipy.{name}")
    added = {"PPoly", "SparseArray", "from_scipy", "linalg"} | set(dir(original))
    assert set(own.__all__) <= added
    for public in original.__all__:
        assert getattr(own, public) is not None


def test_what_python_asks_for_is_not_scipys() -> None:
    look_up, names = names_of(scipy.linalg)
    assert "solve" in names()
    with pytest.raises(AttributeError):
        look_up("__path__")
    with pytest.raises(AttributeError, match="optimise"):
        _ = pb.scipy.optimise
