"""Complex numbers in native code, against NumPy on the same arrays."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.passes.split_complex import split_complex
from pullback.compiler.verify import verify_graph
from pullback.core.types import type_of
from pullback.errors import CompileError
from pullback.transforms.stage import stage

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(3, 4)) + 1j * RNG.normal(size=(3, 4))
M = RNG.normal(size=(4, 3)) + 1j * RNG.normal(size=(4, 3))


def many(z, m):
    """Arithmetic, functions, products, folds and moves, in one program."""
    smooth = np.exp(z) * np.sin(z) / (2 + np.cosh(z)) + np.log(z) - np.sqrt(z) * np.tanh(z)
    mixed = z * z.real + 2.5 - (1j * z.imag) ** 3 + z**-2 + z.conj() * np.arange(4)
    moved = np.concatenate([z.T[::-1], m[:, :2]], 1) * np.where(m.real[:, :1] > 0, m[:, :1], 1)
    folds = z.sum(0), np.cumsum(z, 1), z.prod(1), np.abs(z).max(), np.angle(z), np.sign(z)
    tests = z == z.conj(), z != 0, np.isfinite(z)
    taken = z[np.array([2, 0])], z.astype(np.complex64)
    return smooth, mixed, moved, z @ m, z.real @ m, *folds, *tests, *taken


def close(found, expected, tolerance: float = 1e-13) -> None:
    for a, b in zip(pb.tree.leaves(found), pb.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_a_program_of_all_kinds_of_operations_is_native(dtype: type) -> None:
    z, m = Z.astype(dtype), M.astype(dtype)
    compiled = pb.compile(many, callbacks=False)
    close(compiled(z, m), many(z, m), 200 * np.finfo(dtype).eps)


def body(c, x):
    return c * x + np.sin(x), np.abs(c)


def test_states_and_branches_may_be_complex() -> None:
    def f(z):
        scanned = pb.scan(body, z[0] * 0, z)
        chosen = pb.cond(z[0, 0].real > 0, lambda x: x * 1j, np.conj, z)
        grown = pb.while_loop(lambda s: np.sum(np.abs(s)) < 50, lambda s: s * (1 + 1j), z[1])
        return *scanned, chosen, grown

    close(pb.compile(f, callbacks=False)(Z), f(Z))


def test_gradients_batches_and_directions() -> None:
    def f(z):
        return np.sum(np.abs(pb.scan(body, z[0] * 0, np.tanh(z))[0]) ** 2)

    def all_of(z):
        rows = pb.vmap(pb.grad(lambda q: np.sum(np.abs(np.exp(q)) ** 2)))(z)
        return pb.grad(f)(z), rows, pb.jvp(f, (z,), (1j * z,))[1]

    close(pb.compile(all_of, callbacks=False)(Z), all_of(Z), 1e-12)


def test_fourier_transforms_and_decompositions_are_calls_of_numpy() -> None:
    def f(z):
        return np.fft.ifft(np.tanh(np.fft.fft(z))), np.linalg.inv(z[:, :3]) @ z

    compiled = pb.compile(f)
    close(compiled(Z), f(Z))
    assert "in NumPy: fft" in compiled.show("loops", Z)
    with pytest.raises(CompileError, match=r"fft has no native form") as caught:
        pb.compile(f, callbacks=False)(Z)
    assert "complex128[3,4]" in str(caught.value)


def test_inputs_and_outputs_lie_in_memory_as_they_are() -> None:
    close(pb.compile(lambda z: (z, z, z[1:]))(Z), (Z, Z, Z[1:]))
    close(pb.compile(lambda z: 1j * z)(2.0), np.asarray(2j))
    close(pb.compile(np.exp)(Z.T), np.exp(Z.T))


def test_only_real_arrays_are_left() -> None:
    graph = stage(lambda z: [np.exp(z) @ z.T], [type_of(Z)]).graph
    split = split_complex(graph)
    verify_graph(split)
    assert {v.type.dtype.kind for e in split.equations for v in e.outputs} <= set("fb")
    assert [t.shape for t in split.output_types] == [(3, 3, 2)]
    real = stage(lambda x: [np.exp(x)], [type_of(Z.real)]).graph
    assert split_complex(real) is real
