"""Patterns against dense Jacobians: of every operation, and of programs."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import pullback as pb
import pullback.scipy.special  # its operations are in the registry, too
from pullback.control.known import known
from pullback.core.primitive import Primitive, registry
from pullback.errors import ArgumentError, SnapshotError
from pullback.sparse.pattern import MOVES, Pattern, as_pattern, run

RNG = np.random.default_rng(0)


def dense(function: object, leaves: list) -> np.ndarray:
    """Where central differences move an output: the whole Jacobian, by probing."""

    def joined(*xs: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ravel(np.asarray(y, float)) for y in function(*xs)] or [[]])

    columns = []
    for k, x in enumerate(leaves):
        for i in range(np.size(x)):
            ends = []
            for step in (1e-4, -1e-4):
                moved = [np.array(v) for v in leaves]
                moved[k].reshape(-1)[i] += step
                ends.append(joined(*moved))
            columns.append(np.abs(ends[0] - ends[1]) > 1e-9)
    return np.array(columns).T


# One draws random numbers; two have other derivatives than their values show.
@pytest.mark.parametrize("name", sorted(set(registry) - {"random_bits", "stop_gradient", "known"}))
@pytest.mark.filterwarnings("ignore")
def test_every_operation_covers_its_jacobian(name: str) -> None:
    primitive: Primitive = registry[name]
    for sample in primitive.samples(np.random.default_rng(1), np.dtype(np.float64)):
        args = [np.asarray(a) for a in sample.args]
        active = [i for i, a in enumerate(args) if a.dtype.kind == "f" and a.size]
        if sample.error or sample.kink or sample.nonfinite_ok or not active:
            continue

        def function(*xs: np.ndarray, args=args, active=active, sample=sample) -> list:
            full = list(args)
            for i, x in zip(active, xs, strict=True):
                full[i] = x
            result = primitive(*full, **sample.params)
            outputs = result if primitive.multiple else [result]
            return [y for y in outputs if y.dtype.kind == "f"]

        leaves = [args[i] for i in active]
        outputs, matrix = run(function, leaves)
        if not outputs:
            continue
        assert matrix.shape == (sum(np.size(y) for y in outputs), sum(x.size for x in leaves))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            probed = dense(function, leaves)
        missing = probed & ~matrix.toarray()
        assert not missing.any(), sample


PROGRAMS = {
    "moves": (lambda x: np.concatenate([x[::-2], x[[3, 0]], np.roll(x, 1)]), 6),
    "stencil": (lambda x: x[2:] - 2 * x[1:-1] + x[:-2], 7),
    "outer": (lambda x: x[:3, None] * x[None, 3:], 6),
    "rows": (lambda x: np.sum(x.reshape(3, 2), axis=1), 6),
    "banded product": (lambda x: (np.eye(5) + np.eye(5, k=1)) @ x, 5),
    "product with rows": (lambda x: x.reshape(3, 2) @ np.ones((2, 4)), 6),
    "stack of products": (lambda x: x[:8].reshape(2, 2, 2) @ x[8:].reshape(2, 2, 1), 12),
    "running sum": (np.cumsum, 4),
    "systems": (
        lambda x: np.linalg.solve(x.reshape(3, 2, 2) + 3 * np.eye(2), np.ones((3, 2, 1))),
        12,
    ),
    "in place": (lambda x: in_place(x), 5),
    "scan": (lambda x: pb.scan(lambda c, v: (c, v * c), np.ones(()), x)[1], 4),
    "carried": (lambda x: pb.scan(lambda c, v: (c + v, c), 0.0, x)[1], 4),
    "compiled": (pb.compile(lambda x: np.sin(x) * np.roll(x, 1)), 4),
    "checkpointed": (pb.checkpoint(lambda x: np.sin(x) * np.roll(x, 1)), 4),
    "known": (lambda x: known([np.exp(x)], lambda x: [np.exp(x)], x)[0], 3),
    "gradient": (pb.grad(lambda x: np.sum(x[1:] ** 2 * x[:-1])), 5),
}


def in_place(x: np.ndarray) -> np.ndarray:
    buffer = pb.numpy.zeros(5)
    buffer[1:3] = x[3:]
    buffer[0] += x[0] * buffer[1]
    return buffer


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_exact(name: str) -> None:
    f, n = PROGRAMS[name]
    x = RNG.uniform(0.5, 1.5, size=n)
    found = pb.sparse.jacobian_sparsity(f, x).matrix.toarray()
    assert_array_equal(found, dense(lambda x: [f(x)], [x]))


def test_scatters_add_up() -> None:
    places = np.array([0, 2, 2, 1])

    def f(x: np.ndarray) -> np.ndarray:
        out = pb.numpy.zeros(4)
        np.add.at(out, places, x)
        return out

    expected = [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert_array_equal(pb.sparse.jacobian_sparsity(f, np.ones(4)).matrix.toarray(), expected)


def test_patterns_hold_on_both_branches() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.where(x[:2] > 0, x[:2], x[2:])

    found = pb.sparse.jacobian_sparsity(f, np.ones(4)).matrix.toarray()
    assert_array_equal(found, [[1, 0, 1, 0], [0, 1, 0, 1]])


def test_an_index_computed_from_the_input_makes_rows_dense_aloud() -> None:
    with pytest.warns(RuntimeWarning, match=r"gather \(test_pattern.py.*pass sparsity="):
        found = pb.sparse.jacobian_sparsity(np.sort, np.array([3.0, 1.0, 2.0]))
    assert found.density == 1


def test_what_has_no_derivative_depends_on_nothing() -> None:
    found = pb.sparse.jacobian_sparsity(lambda x: np.floor(x) + pb.stop_gradient(x), np.ones(3))
    assert found.nnz == 0


def test_patterns_are_saved_and_loaded(tmp_path: Path) -> None:
    pattern = pb.sparse.jacobian_sparsity(np.diff, np.ones(5))
    pattern.save(tmp_path / "pattern.npz")
    loaded = Pattern.load(tmp_path / "pattern.npz")
    assert_array_equal(loaded.matrix.toarray(), pattern.matrix.toarray())
    assert loaded.shape == (4, 5)
    (tmp_path / "other.npz").write_text("not a pattern")
    with pytest.raises(SnapshotError, match=r"other.npz is not a sparsity pattern"):
        Pattern.load(tmp_path / "other.npz")


def test_a_pattern_is_a_matrix() -> None:
    with pytest.raises(ArgumentError, match="two-dimensional"):
        as_pattern(np.ones(3))


def test_moves_are_told_by_their_numbers() -> None:
    assert {p.family for p in MOVES} <= {"linear", "index", "general"}
