"""Compiled functions against the same functions run eagerly."""

from __future__ import annotations

import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import ArgumentError, CompileError, DTypeError, ShapeError, StagingError

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 4))
Y = rng.normal(size=(6, 1))
PARAMS = {"w1": rng.normal(size=(4, 5)), "b1": np.zeros(5), "w2": rng.normal(size=(5, 1))}


def loss(p, x, y):
    h = np.tanh(x @ p["w1"] + p["b1"])
    return np.mean((h @ p["w2"] - y) ** 2)


def same(a, b, rtol=1e-12):
    for u, v in zip(pb.tree.leaves(a), pb.tree.leaves(b), strict=True):
        assert np.shape(u) == np.shape(v)
        assert np.asarray(u).dtype == np.asarray(v).dtype
        np.testing.assert_allclose(u, v, rtol=rtol, atol=1e-13)


TRANSFORMED = {
    "value": loss,
    "value_and_grad": pb.value_and_grad(loss),
    "hvp": lambda p, x, y: pb.hvp(lambda p: loss(p, x, y), (p,), (p,)),
    "jvp": lambda p, x, y: pb.jvp(lambda p: loss(p, x, y), (p,), (p,)),
    "per_example": lambda p, x, y: pb.vmap(pb.grad(loss), (None, 0, 0))(p, x, y),
    "jacobian": lambda p, x, y: pb.jacobian(lambda w: np.tanh(x @ w))(p["w1"]),
    "hessian": lambda p, x, y: pb.hessian(lambda w: loss({**p, "w2": w}, x, y))(p["w2"]),
    "checkpoint": lambda p, x, y: pb.grad(pb.checkpoint(lambda p: loss(p, x, y)))(p),
    "scan": lambda p, x, y: pb.grad(
        lambda p: np.sum(
            pb.scan(
                lambda c, r: (np.tanh(c @ p["w1"].T @ p["w1"] + r @ p["w1"]), None), p["b1"], x
            )[0]
            ** 2
        )
    )(p),
    "cond": lambda p, x, y: pb.grad(
        lambda p: pb.cond(np.sum(x) > 0, lambda p: loss(p, x, y), lambda p: np.sum(p["w1"]), p)
    )(p),
    "while": lambda p, x, y: pb.while_loop(
        lambda s: np.sum(s) < 100.0, lambda s: s * 2 + 1, p["b1"]
    ),
    "in_place": lambda p, x, y: pb.grad(lambda p: overwrite(p["w1"]))(p),
    "sort": lambda p, x, y: pb.grad(lambda p: np.sum(np.sort(p["w1"], axis=0)[1] ** 2))(p),
}


def overwrite(w):
    out = pnp.zeros((4, 5))
    out[1:] = w[:-1] ** 2
    top = out[:2].T
    top += w[0, 0]
    out[[0, 2]] *= 3.0
    return np.sum(out**2)


@pytest.mark.parametrize("name", TRANSFORMED)
def test_compiled_is_eager(name):
    f = TRANSFORMED[name]
    same(pb.compile(f)(PARAMS, X, Y), f(PARAMS, X, Y))


@pytest.mark.parametrize("name", TRANSFORMED)
def test_float32_stays_float32(name):
    f = TRANSFORMED[name]
    args = pb.tree.map(lambda a: a.astype(np.float32), (PARAMS, X, Y))
    same(pb.compile(f)(*args), f(*args), rtol=2e-3)


def test_compiled_functions_can_be_transformed():
    native = pb.compile(loss)
    same(pb.grad(native)(PARAMS, X, Y), pb.grad(loss)(PARAMS, X, Y))
    same(
        pb.hvp(lambda p: native(p, X, Y), (PARAMS,), (PARAMS,)),
        pb.hvp(lambda p: loss(p, X, Y), (PARAMS,), (PARAMS,)),
    )
    same(pb.vmap(native, (None, 0, 0))(PARAMS, X, Y), pb.vmap(loss, (None, 0, 0))(PARAMS, X, Y))
    same(pb.compile(pb.grad(native))(PARAMS, X, Y), pb.grad(loss)(PARAMS, X, Y))
    same(
        pb.jvp(pb.compile(pb.grad(native)), (PARAMS, X, Y), (PARAMS, X, Y)),
        pb.jvp(pb.grad(loss), (PARAMS, X, Y), (PARAMS, X, Y)),
    )


def test_captured_arrays_are_read_at_every_call():
    scale = np.ones(3)
    f = pb.compile(lambda x: x * scale)
    np.testing.assert_array_equal(f(np.ones(3)), [1, 1, 1])
    scale[:] = 5.0
    np.testing.assert_array_equal(f(np.ones(3)), [5, 5, 5])


def test_arrays_that_only_dead_code_reads_are_not_kept():
    used, unused = np.full(3, 2.0), np.full(3, 3.0)

    def f(x):
        for scale in (unused, used):
            y = np.exp(x) * scale
        return y

    compiled = pb.compile(f)
    np.testing.assert_allclose(compiled(np.ones(3)), 2 * np.exp(np.ones(3)), rtol=1e-15)
    (signature,) = compiled.signatures.values()
    (captured,) = signature.staged.captured
    assert captured is used
    used[:] = 5.0
    np.testing.assert_allclose(compiled(np.ones(3)), 5 * np.exp(np.ones(3)), rtol=1e-15)
    assert "multiply" in compiled.show("graph", np.ones(3))


def test_there_is_no_code_whose_results_vary():
    with pytest.raises(ArgumentError, match=r"deterministic=False(.|\n)*leave deterministic out"):
        pb.compile(np.sin, deterministic=False)


def test_inputs_of_any_layout():
    f = pb.compile(lambda a, b: (a @ b.T, a[:, ::-1] + b))
    a = np.asfortranarray(X)
    b = X[::-1]
    b.flags.writeable = False
    same(f(a, b), (a @ b.T, a[:, ::-1] + b))
    same(f(X, X), (X @ X.T, X[:, ::-1] + X))


def test_outputs_that_are_inputs_literals_or_repeated():
    f = pb.compile(lambda x: (x, x, np.reshape(x, -1), 2.0, x + 1, x.T))
    same(f(X), (X, X, X.reshape(-1), np.asarray(2.0), X + 1, X.T))
    outputs = f(X)
    outputs[0][...] = 0
    assert np.all(outputs[1] == X)
    assert np.any(X != 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32, np.bool_])
def test_branches_and_loops_take_literals(dtype):
    def f(p):
        one = dtype(1)
        chosen = pb.cond(p > 0, lambda a: a, lambda a: np.zeros((), dtype), one)
        return chosen, pb.scan(lambda c, x: (c, c), one, np.ones(2))

    for p in (np.array(1.0), np.array(-1.0)):
        same(pb.compile(f)(p), f(p))


def test_static_arguments_and_structure():
    f = pb.compile(lambda x, kind: np.sin(x) if kind == "sin" else np.cos(x), static_argnums=1)
    assert float(f(0.0, "sin")) == 0.0
    assert float(f(0.0, "cos")) == 1.0
    with pytest.raises(ArgumentError, match="hashed"):
        f(0.0, ["sin"])
    with pytest.raises(DTypeError, match="static_argnums"):
        pb.compile(lambda x, kind: x)(0.0, "sin")


def test_control_flow_on_values_names_the_line_and_the_remedy():
    def f(x):
        return x if x > 0 else -x

    with pytest.raises(StagingError, match=r"test_jit.py:\d+ in f.*\n.*\n.*np.where.*cond"):
        pb.compile(f)(1.0)


def test_out_of_range_indices_raise_and_touch_nothing():
    f = pb.compile(lambda x, i: (x[i], x * 2))
    x = np.arange(4.0)
    same(f(x, np.array([0, -1])), (x[[0, -1]], x * 2))
    for bad in (4, -5, 2**40):
        with pytest.raises(IndexError, match=r"out of bounds for float64\[4\], at test_jit.py"):
            f(x, np.array([0, bad]))
    same(f(x, np.array([1, 2])), (x[[1, 2]], x * 2))
    g = pb.compile(lambda x, i: np.sum(x[i]), callbacks=False)
    with pytest.raises(IndexError):
        g(np.zeros(0), np.array([0]))


def test_generators_are_advanced():
    f = pb.compile(lambda g, x: x + g.normal(size=3))
    a, b = pb.random.default_rng(1), pb.random.default_rng(1)
    for _ in range(2):
        same(f(a, np.zeros(3)), b.normal(size=3))
    g = pb.random.default_rng(0)
    with pytest.raises(StagingError, match="pass the generator as an argument"):
        pb.compile(lambda x: x + g.random(3))(np.zeros(3))


def test_strict_compilation_names_the_operation_and_the_line():
    triple = pb.custom_jvp(lambda x: 3 * x)
    triple.defjvp(lambda p, t: (3 * p[0], 3 * t[0]))
    assert float(pb.compile(triple)(2.0)) == 6.0
    with pytest.raises(CompileError, match=r"custom has no native form\n.*test_jit.py"):
        pb.compile(lambda x: triple(x), callbacks=False)(2.0)


def test_exceptions_in_callbacks_arrive_and_leave_the_function_usable():
    calls = []

    @pb.custom_jvp
    def picky(x):
        if isinstance(x, np.ndarray):
            calls.append(1)
            if len(calls) == 1:
                raise RuntimeError("first time")
        return 2.0 * x

    picky.defjvp(lambda p, t: (picky(p[0]), 2 * t[0]))
    f = pb.compile(lambda x: picky(x) + 1)
    with pytest.raises(RuntimeError, match="first time"):
        f(np.ones(2))
    np.testing.assert_array_equal(f(np.ones(2)), [3, 3])


def test_several_threads_share_one_compiled_function():
    f = pb.compile(pb.value_and_grad(loss))
    expected = pb.value_and_grad(loss)(PARAMS, X, Y)
    failures = []

    def work():
        try:
            for _ in range(50):
                same(f(PARAMS, X, Y), expected)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_repeated_calls_give_the_same_bits():
    f = pb.compile(pb.value_and_grad(loss))
    first = [np.asarray(a).tobytes() for a in pb.tree.leaves(f(PARAMS, X, Y))]
    for _ in range(100):
        assert [np.asarray(a).tobytes() for a in pb.tree.leaves(f(PARAMS, X, Y))] == first


def test_stages_can_be_printed():
    f = pb.compile(pb.grad(loss))
    assert "matmul" in f.show("graph", PARAMS, X, Y)
    assert "test_jit.py:" in f.show("graph", PARAMS, X, Y)
    simple = f.show("simplified", PARAMS, X, Y)
    assert simple.count("=") < f.show("graph", PARAMS, X, Y).count("=")
    assert "test_jit.py:" in f.show("layouts", PARAMS, X, Y)
    assert "kernel 0" in f.show("loops", PARAMS, X, Y)
    llvm = f.show("llvm", PARAMS, X, Y)
    assert re.search(r"^; float64\[.* = matmul.*  # test_jit.py:\d+\ndefine ", llvm, re.MULTILINE)
    assert "define void" in llvm
    memory = f.show("memory", PARAMS, X, Y)
    assert memory.startswith("arena:")
    assert re.search(r"\d+ \.\. \d+ +float64\[.* = \w+  # test_jit.py:\d+$", memory, re.MULTILINE)
    with pytest.raises(ArgumentError, match="no stage 'soup'"):
        f.show("soup", PARAMS, X, Y)


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda x, y: x @ y, ShapeError, "matmul: inner sizes of float64[3] and float64[4,5]"),
        (lambda x, y: x + y, ShapeError, "add: shape mismatch"),
        (lambda x, y: (x > 1) - (y > 1)[0, :3], DTypeError, "subtract: "),
    ],
)
def test_operands_that_do_not_fit_are_named_with_the_users_line(f, error, message):
    with pytest.raises(error, match=re.escape(message)) as caught:
        pb.compile(f)(np.ones(3), np.ones((4, 5)))
    text = str(caught.value)
    assert re.search(r"test_jit\.py:\d+ in <lambda>", text)
    assert "operands: " in text
    assert "Fix: " in text


def test_without_llvmlite_the_same_program_runs_with_one_notice():
    program = """
import sys, warnings
sys.modules["llvmlite"] = None
import numpy as np, pullback as pb
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    f = pb.compile(lambda x: np.sin(x) * 2)
    assert float(f(0.0)) == 0.0 and float(f(1.0)) == 2 * np.sin(1.0)
assert [str(w.message) for w in caught] == [
    "llvmlite is not installed: compiled functions run in NumPy. Fix: pip install pullback[compile]"
], caught
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("assembler.llvm.get_host_cpu_name = unknown", "no such processor"),
        ("frame.FLAGS = frame.NDIM", "this Python or NumPy lays out arrays in a way that"),
        (
            "linker.libc = lambda: type('', (), {'mprotect': unlucky})",
            "this process may not run code",
        ),
    ],
)
def test_on_an_unknown_machine_the_same_program_runs_with_one_notice(fault, reason):
    program = f"""
import os, warnings
os.environ["PULLBACK_CACHE_DIR"] = ""
import numpy as np, pullback as pb
from pullback.compiler.llvm import assembler
from pullback.compiler import executable
from pullback.compiler.runtime import frame
from pullback.compiler.runtime import linker
def unknown():
    raise RuntimeError("no such processor")
def unlucky(*arguments):
    return -1
{fault}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    f = pb.compile(lambda x: np.sin(x) * 2)
    assert float(f(0.0)) == 0.0 and float(f(1.0)) == 2 * np.sin(1.0)
    assert float(pb.compile(lambda x: x + 1)(1.0)) == 2.0
(notice,) = [str(w.message) for w in caught]
assert notice.startswith("there is no native code for this machine ({reason}"), notice
assert "compiled functions run in NumPy" in notice
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_lapack_linear_algebra_runs_in_numpy():
    program = """
import numpy as np, pullback as pb
from pullback.compiler import executable
from pullback.compiler.runtime import lapack
from pullback.compiler.loops import linalg
executable.routines = linalg.routines = lambda: {}
a = np.array([[2.0, 1.0], [1.0, 3.0]])
f = pb.compile(lambda a: np.exp(np.linalg.solve(a, a[0])))
np.testing.assert_allclose(f(a), np.exp(np.linalg.solve(a, a[0])), rtol=1e-14)
assert "in NumPy: solve" in f.show("loops", a)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_product_with_a_transposed_intermediate() -> None:
    """The matrix that BLAS reads transposed must rest in memory, not in a fused loop."""
    x = np.random.default_rng(0).normal(size=(3, 4))
    for f in (
        lambda x: x @ (x * 2.0).T,
        lambda x: (x + 1).T @ (x * 2),
        lambda x: np.cov(x, rowvar=False, aweights=[1.0, 2.0, 3.0], ddof=0),
    ):
        np.testing.assert_allclose(pb.compile(f)(x), f(x), rtol=1e-13)


def test_many_signatures_are_noticed_once_with_the_argument_that_differs():
    f = pb.compile(lambda params, x, mode, **extra: x * params["w"][0], static_argnums=2)
    w = {"w": [np.float32(2.0)]}
    for n in range(8):
        f(w, np.ones(n), "a")
    with pytest.warns(RuntimeWarning, match="9th signature") as caught:
        f(w, np.ones(2, np.float32), "b", rate=0.5)
    text = str(caught[0].message)
    assert "test_jit.py" in text
    assert "test_jit.py" in caught[0].filename
    assert "args[1]: float32[2], before: float64[7]" in text
    assert "args[2]: static 'b', before: static 'a'" in text
    assert "kwargs['rate']: float, before: absent" in text
    assert "args[0]" not in text
    f(w, np.ones(20), "a")
    f(w, np.ones(21), "a")


def test_static_arguments_keep_the_places_of_the_others():
    f = pb.compile(lambda x, kind, y=None, z=0.0: (x, kind, y is None, z), static_argnums=(1, 2))
    assert f(1.0, None, None, 2.0)[2:] == (True, 2.0)
    assert f(1.0, 3, 4, 5.0)[1:] == (3, False, 5.0)
    assert f(1.0, 3)[2:] == (True, 0.0)


# -- donation -------------------------------------------------------------------------------------
def descent(params, x, y):
    def loss(params):
        w, b = params
        return np.mean((x @ w + b - y) ** 2)

    value, (dw, db) = pb.value_and_grad(loss)(params)
    w, b = params
    return [w - 0.1 * dw, b - 0.1 * db], value


def fresh():
    rng = np.random.default_rng(3)
    return [rng.normal(size=(6, 5)), rng.normal(size=5)], rng.normal(size=(9, 6)), np.ones((9, 5))


def test_results_are_written_over_donated_arrays():
    params, x, y = fresh()
    want, value = descent(params, x, y)
    f = pb.compile(descent, donate_argnums=0)
    assert "output 0 over input 0" in f.show("memory", params, x, y)
    (w, b), got = f(params, x, y)
    assert w is params[0]
    np.testing.assert_allclose(w, want[0], rtol=1e-12)
    np.testing.assert_allclose(b, want[1], rtol=1e-12)
    np.testing.assert_allclose(got, value, rtol=1e-12)
    np.testing.assert_array_equal(x, fresh()[1])


def test_a_training_loop_with_donation_agrees_with_one_without():
    plain, donating = pb.compile(descent), pb.compile(descent, donate_argnums=(0,))
    (a, x, y), (b, _, _) = fresh(), fresh()
    for _ in range(20):
        a, loss_a = plain(a, x, y)
        b, loss_b = donating(b, x, y)
        assert loss_a == loss_b
    for p, q in zip(a, b, strict=True):
        np.testing.assert_array_equal(p, q)


def shift(x, y):
    return x + y, y * 2.0


@pytest.mark.parametrize(
    "arguments",
    [
        lambda a: (a, a),  # given twice
        lambda a: (a[:3], a[1:]),  # views of one array
        lambda a: (a.copy(), memoryview(a) and np.asarray(memoryview(a))),  # of a buffer
        lambda a: (np.ascontiguousarray(a)[::-1], a),  # not contiguous
    ],
)
def test_donated_arrays_that_others_may_see_are_copied(arguments):
    a = np.arange(4.0)
    x, y = arguments(a)
    before = x.copy(), y.copy()
    f = pb.compile(shift, donate_argnums=(0, 1))
    n = min(len(x), len(y))
    for _ in range(2):
        got = f(x[:n], y[:n])
        np.testing.assert_array_equal(got[0], before[0][:n] + before[1][:n])
        np.testing.assert_array_equal(got[1], before[1][:n] * 2)
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(y, before[1])


def test_a_read_only_array_is_not_written_over():
    x = np.arange(4.0)
    x.flags.writeable = False
    f = pb.compile(lambda x: x + 1.0, donate_argnums=0)
    for _ in range(2):
        np.testing.assert_array_equal(f(x), [1.0, 2.0, 3.0, 4.0])
        np.testing.assert_array_equal(x, np.arange(4.0))


def test_a_donated_array_that_is_read_later_is_kept_until_then():
    def both(x):
        a = np.sqrt(x)
        return a, np.cumsum(x)[::-1] + x

    x = np.arange(1.0, 9.0)
    want = both(x)
    for got, expected in zip(pb.compile(both, donate_argnums=0)(x), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-15)


def test_a_donated_argument_may_come_back_unchanged():
    x = np.arange(3.0)
    y, z = pb.compile(lambda x: (x, x + 1.0), donate_argnums=0)(x)
    np.testing.assert_array_equal(y, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(z, [1.0, 2.0, 3.0])


def test_transforms_of_a_donating_function_leave_its_arguments():
    x = np.linspace(1.0, 2.0, 5)
    f = pb.compile(lambda x: np.exp(x) * x, donate_argnums=0)
    value, pull = pb.vjp(f, x)
    (ct,) = pull(np.ones(5))
    np.testing.assert_allclose(value, np.exp(x) * x, rtol=1e-14)
    np.testing.assert_allclose(ct, np.exp(x) * (x + 1), rtol=1e-14)
    np.testing.assert_allclose(pb.vmap(f)(x[:, None]), (np.exp(x) * x)[:, None], rtol=1e-14)
    np.testing.assert_allclose(pb.compile(lambda x: f(x) + x)(x), np.exp(x) * x + x, rtol=1e-14)
    np.testing.assert_array_equal(x, np.linspace(1.0, 2.0, 5))


def test_a_position_without_arrays_cannot_be_donated():
    with pytest.raises(ArgumentError, match="names position 2"):
        pb.compile(shift, donate_argnums=2)(X, X)


def test_the_schedule_says_how_work_is_cut():
    big = np.ones((2000, 300))
    text = pb.compile(lambda x: np.sum(np.tanh(x)), threads=3).show("schedule", big)
    assert text.startswith("threads: 3\n")
    assert re.search(r"\d+ chunks: float64\[\] = sum", text)
    assert "1 chunk: " in pb.compile(lambda x: x + 1.0).show("schedule", X)


@pytest.mark.parametrize("threads", [0, -1, 1025, 100_000])
def test_the_number_of_threads_has_bounds(threads):
    with pytest.raises(ArgumentError, match=rf"threads is {threads}, not a number from 1 to 1024"):
        pb.compile(np.sin, threads=threads)


def test_bins_of_numbers_that_are_arguments():
    def added(i, v):
        out = pnp.zeros(4)
        np.add.at(out, i, v)
        return np.sum(out * out)

    def counted(i, v):
        return np.sum(np.bincount(i, weights=v, minlength=4) ** 2)

    i, v = np.array([0, 1, 1, 3]), np.array([1.0, 2.0, 3.0, 4.0])
    for f in (added, counted):
        compiled = pb.compile(pb.grad(f, 1))
        np.testing.assert_array_equal(compiled(i, v), [2, 10, 10, 8])  # 2 (2 + 3) where both add
    for bad in ([0, 1, 4, 1], [0, -1, 2, 1]):  # NumPy would give five bins, and refuse
        with pytest.raises(IndexError, match="out of bounds"):
            compiled(np.array(bad), v)
    bins = pb.compile(lambda i: np.bincount(i, minlength=5))(i)
    np.testing.assert_array_equal(bins, np.bincount(i, minlength=5))
    assert bins.dtype == np.bincount(i).dtype
    with pytest.raises(StagingError, match=r"np\.bincount of a value"):
        pb.compile(lambda i: np.bincount(i))(i)
