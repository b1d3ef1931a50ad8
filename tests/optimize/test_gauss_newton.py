"""Gauss-Newton and Levenberg-Marquardt: SciPy's minima, elimination, interruption, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, sparse

import pullback as pb
from pullback.errors import ArgumentError
from pullback.optimize.gauss_newton import by_elimination

RNG = np.random.default_rng(3)
N_CAMERAS, N_POINTS = 4, 30
CAMERA, POINT = np.tile(np.arange(N_CAMERAS), N_POINTS), np.repeat(np.arange(N_POINTS), N_CAMERAS)
TRUE = {
    "cameras": np.concatenate(
        [RNG.normal(size=(N_CAMERAS, 2)) / 10, np.full((N_CAMERAS, 1), 5.0)], axis=1
    ),
    "points": RNG.uniform(-1, 1, (N_POINTS, 3)),
}


def project(p):
    seen = p["points"][POINT] + p["cameras"][CAMERA]
    return seen[:, :2] / seen[:, 2:]


SEEN = project(TRUE) + 0.01 * RNG.normal(size=(POINT.size, 2))
START = {k: v + 0.05 * RNG.normal(size=v.shape) for k, v in TRUE.items()}


def residual(p):
    # Seven freedoms of the whole scene are held by a weak prior.
    held = [0.01 * (p[k] - START[k]).ravel() for k in ("cameras", "points")]
    return np.concatenate([(project(p) - SEEN).ravel(), *held])


def scipys(fun, start):
    flat, unravel = pb.tree.ravel(start)
    return optimize.least_squares(lambda v: fun(unravel(v)), flat, ftol=1e-12, xtol=1e-12)


def rosenbrock(x):
    return np.concatenate([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])


@pytest.mark.parametrize("method", ["gauss-newton", "levenberg-marquardt"])
@pytest.mark.parametrize("sparse", [False, True, "auto"])
def test_the_minimum_of_rosenbrock(method, sparse):
    result = pb.optimize.least_squares(rosenbrock, np.full(8, -1.2), method=method, sparse=sparse)
    assert result.success, result.message
    assert_allclose(result.x, 1, atol=1e-6)


@pytest.mark.parametrize("method", ["gauss-newton", "levenberg-marquardt"])
def test_bundle_adjustment_reaches_scipys_cost(method):
    result = pb.optimize.least_squares(residual, START, method=method, eliminate="points")
    assert result.success
    assert_allclose(result.cost, scipys(residual, START).cost, rtol=1e-6)
    assert result.x["points"].shape == (N_POINTS, 3)
    assert sparse.issparse(result.jac)


def test_scipys_methods_take_sparse_jacobians():
    result = pb.optimize.least_squares(residual, START, sparse=True, x_scale="jac", ftol=1e-12)
    assert sparse.issparse(result.jac)
    assert_allclose(result.cost, scipys(residual, START).cost, rtol=1e-6)


def test_elimination_solves_the_whole_system():
    blocks = np.arange(4, 16).reshape(4, 3)
    a = np.zeros((30, 16))
    a[:, :4] = RNG.normal(size=(30, 4))
    for i, block in enumerate(blocks):
        a[7 * i : 7 * i + 7, block] = RNG.normal(size=(7, 3))
    matrix, right = a.T @ a, RNG.normal(size=16)
    found = by_elimination(sparse.csc_array(matrix), right, blocks)
    assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-9)


def test_blocks_that_meet_are_refused():
    with pytest.raises(ArgumentError, match="not independent blocks"):
        pb.optimize.least_squares(
            lambda p: np.concatenate([np.diff(p["x"]), p["x"] - p["a"]]),
            {"a": np.ones(1), "x": np.arange(4.0)},
            method="levenberg-marquardt",
            eliminate="x",
        )


@pytest.mark.parametrize("method", ["trf", "levenberg-marquardt"])
def test_ctrl_c_keeps_the_best_point(method):
    calls = []

    def slow(x):
        calls.append(None)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return rosenbrock(x)

    def guarded(x):
        return slow(x) if len(calls) <= 12 else rosenbrock(x)

    result = pb.optimize.least_squares(guarded, np.full(4, -1.2), method=method)
    assert result.status == 130
    assert not result.success
    assert result.cost < 0.5 * np.sum(rosenbrock(np.full(4, -1.2)) ** 2)
    assert_allclose(result.cost, 0.5 * np.sum(rosenbrock(result.x) ** 2))


def test_limits_and_progress(capsys):
    result = pb.optimize.least_squares(
        rosenbrock, np.full(4, -1.2), method="levenberg-marquardt", max_nfev=3, progress=True
    )
    assert (result.status, result.nfev) == (0, 3)
    assert capsys.readouterr().err.startswith("step 1: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gauss-newton", "bounds": (0, 1)}, "bounds need"),
        ({"method": "trf", "eliminate": "x"}, "eliminate needs"),
        ({"method": "lm", "sparse": True}, "needs another method"),
        ({"method": "gauss-newton", "loss": "huber"}, "takes no loss"),
        ({"method": "gauss-newton", "eliminate": "x"}, "no entry"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        pb.optimize.least_squares(rosenbrock, np.ones(3), **options)
