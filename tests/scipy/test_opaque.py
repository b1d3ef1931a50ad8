"""What operations by SciPy share."""

import numpy as np
import pytest

import pullback as pb
from pullback.errors import UnsupportedError
from pullback.scipy.opaque import LinearMap, floats, require

MATRIX = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]])


def test_a_linear_map_has_all_derivatives_and_batches() -> None:
    map = LinearMap("matrix", lambda x: MATRIX @ x, lambda y: MATRIX.T @ y, (3,), (2,))
    x = np.array([0.3, -1.0, 2.0])
    pb.check_grads(lambda x: map(x) ** 2, (x,))
    np.testing.assert_allclose(pb.compile(map)(x), MATRIX @ x)
    np.testing.assert_allclose(pb.vmap(map)(np.stack([x, 2 * x])), [MATRIX @ x, 2 * MATRIX @ x])


def test_options_are_refused_by_name() -> None:
    require("f", axes=(None, None))
    with pytest.raises(UnsupportedError, match=r"pullback.scipy.f: axes=3 .*\n(.*\n)*.*leave axes"):
        require("f", axes=(3, None))
    assert floats([1, 2]).dtype == np.float64
