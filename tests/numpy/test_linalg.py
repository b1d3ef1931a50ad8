"""``pullback.numpy.linalg`` has NumPy's names."""

import numpy as np

import pullback.numpy as pnp
import pullback.numpy.linalg as namespace

A = np.array([[2.0, 1.0], [1.0, 3.0]])


def test_it_has_the_names_of_numpy() -> None:
    assert dir(namespace) == sorted(dir(np.linalg))
    assert pnp.linalg.LinAlgError is np.linalg.LinAlgError
    for name in ("norm", "eigvalsh", "det", "inv", "cholesky", "matrix_rank", "svdvals"):
        np.testing.assert_array_equal(getattr(pnp.linalg, name)(A), getattr(np.linalg, name)(A))
    assert namespace.eigh(A).eigenvalues.shape == (2,)
    assert complex(pnp.linalg.det(1j * A)) == complex(np.linalg.det(1j * A))
