"""The operation behind implicit functions: duality, and who solves its linear systems."""

import numpy as np
from numpy.testing import assert_allclose

import pullback as pb
from pullback.control.implicit import Problem, implicit
from pullback.core.types import type_of

MATRIX = np.array([[3.0, 1.0], [0.5, 2.0]])


def problem(asked: list) -> Problem:
    """``A x = theta``, where each linear solve is noted."""

    def linear(matvec: object, right: np.ndarray) -> np.ndarray:
        asked.append(np.stack([matvec(e) for e in np.eye(2)], axis=1))
        return np.linalg.solve(asked[-1], right)

    return Problem(
        "system",
        lambda x, theta: MATRIX @ x - theta,
        lambda theta: np.linalg.solve(MATRIX, theta),
        type_of(np.zeros(2)),
        linear,
    )


def test_tangents_take_the_matrix_and_cotangents_its_transpose() -> None:
    asked: list = []
    system = problem(asked)

    def solution(theta: np.ndarray) -> np.ndarray:
        return implicit(theta, problem=system)

    theta, u, v = np.array([1.0, 2.0]), np.array([0.3, -1.0]), np.array([2.0, 0.7])
    _, dot = pb.jvp(solution, (theta,), (u,))
    _, pull = pb.vjp(solution, theta)
    (bar,) = pull(v)
    assert_allclose(asked, [MATRIX, MATRIX.T])
    assert_allclose(dot, np.linalg.inv(MATRIX) @ u)
    assert_allclose(v @ dot, bar @ u)
