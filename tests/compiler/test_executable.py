"""The way into native code: which arrays it takes as they are, and whose memory is whose."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import numpy as np
import pytest

import pullback as pb
from pullback.compiler import executable
from pullback.compiler.llvm import assembler
from pullback.compiler.program import entry
from pullback.compiler.runtime import frame
from pullback.compiler.schedule.target import processor_with
from pullback.core.graph import GraphBuilder
from pullback.core.primitive import registry
from pullback.core.types import ArrayType
from pullback.errors import CompileError

X = np.arange(6.0).reshape(2, 3)


class Vector(np.ndarray):
    """An array of another class."""


@pytest.fixture
def native(monkeypatch):
    """A compiled function that has run once, and the arrays that its next calls convert."""
    f = pb.compile(lambda x: x * 2 + 1)
    f(X)
    converted = []
    original = executable.fitting

    def fitting(value, *type):
        converted.append(value)
        return original(value, *type)

    monkeypatch.setattr(executable, "fitting", fitting)
    return f, converted


def test_plain_arrays_are_read_in_place(native):
    f, converted = native
    frozen = X.copy()
    frozen.flags.writeable = False
    for x in (X, X.copy(), frozen, np.stack([X, X])[1], X.ravel().reshape(2, 3)):
        np.testing.assert_array_equal(f(x), x * 2 + 1)
    assert not converted


UNUSUAL = {
    "columns": X.copy(order="F"),
    "reversed": X[::-1],
    "every other": np.repeat(X, 2, axis=1)[:, ::2],
    "unaligned": np.frombuffer(b"x" + X.tobytes(), np.float64, offset=1).reshape(2, 3),
    "other byte order": X.astype(">f8"),
    "other class": X.view(Vector),
    "broadcast": np.broadcast_to(X[0], (2, 3)),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_other_arrays_give_the_same(name, native):
    f, converted = native
    x = UNUSUAL[name]
    before = x.copy()
    np.testing.assert_array_equal(f(x), X[[0, 0]] * 2 + 1 if name == "broadcast" else x * 2 + 1)
    np.testing.assert_array_equal(x, before)
    assert [type(a) for a in converted] == [type(x)]


def test_other_types_and_numbers_are_staged_anew(native):
    f, _ = native
    for x in (
        X[:1],
        X[..., None],
        X.astype(np.float32),
        X > 2,
        X[0, 0],
        3,
        2.5,
    ):
        got, expected = f(x), x * 2 + 1
        assert got.dtype == np.asarray(expected).dtype
        assert got.shape == np.shape(expected)
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(f(X), X * 2 + 1)


def test_python_numbers_do_not_widen():
    f = pb.compile(lambda x, rate: x * rate)
    x = np.ones(3, np.float32)
    assert f(x, 2.0).dtype == f(x, 2).dtype == f(x, True).dtype == np.float32
    assert f(x, np.float64(2.0)).dtype == f(x, np.ones(())).dtype == np.float64


def test_containers_and_keywords_are_told_apart():
    f = pb.compile(lambda *args, **kwargs: pb.tree.map(np.negative, (args, kwargs)))
    a, b = np.ones(2), np.zeros(2)
    for _ in range(2):
        assert [len(part) for part in f(a, b)] == [2, 0]
        assert [len(part) for part in f(a, b=b)] == [1, 1]
        assert [len(part) for part in f((a, b))] == [1, 0]
        assert [len(part) for part in f({"a": a, "b": b})] == [1, 0]
        assert [len(part) for part in f(a, b, None)] == [3, 0]
        assert [len(part) for part in f()] == [0, 0]


def test_static_values_of_equal_value_and_other_type_are_told_apart():
    f = pb.compile(lambda x, n: x * n, static_argnums=1)
    x = np.arange(3)
    assert [f(x, n).dtype.kind for n in (2, 2.0, 2)] == ["i", "f", "i"]


def test_a_call_inside_a_transform_follows_calls_outside(native):
    f, _ = native
    np.testing.assert_array_equal(pb.grad(lambda x: np.sum(f(x)))(X), np.full((2, 3), 2.0))
    np.testing.assert_array_equal(pb.vmap(f)(np.stack([X, X])), np.stack([X, X]) * 2 + 1)
    np.testing.assert_array_equal(pb.compile(lambda x: f(x) + f(X))(X), 4 * X + 2)
    scale = np.array(3.0)
    g = pb.compile(lambda x: x * scale)
    g(X)
    assert float(pb.grad(lambda s: np.sum(pb.compile(lambda x: x * s)(X)))(scale)) == X.sum()


def test_outputs_are_fresh_memory(native):
    f, _ = native
    first, second = f(X), f(X)
    assert not np.shares_memory(first, second)
    same = pb.compile(lambda x: (x, x))
    for _ in range(2):
        a, b = same(X)
        assert not any(np.shares_memory(p, q) for p, q in [(a, X), (b, X), (a, b)])


def test_code_outlives_the_caches(native):
    f, _ = native
    assembler.compiled.cache_clear()
    executable.executables.clear()
    gc.collect()
    np.testing.assert_array_equal(f(X), X * 2 + 1)


def test_memory_is_freed_with_the_function():
    @pb.custom_jvp
    def custom(x):
        return x + 1

    custom.defjvp(lambda p, t: (p[0] + 1, t[0]))
    f = pb.compile(lambda x: custom(np.cumsum(x) @ x))
    f(np.ones(3))
    native = weakref.ref(f.last.attempt.__self__)
    del f
    assert native() is None


def test_a_graph_called_with_other_shapes_says_so():
    builder = GraphBuilder()
    x = builder.input(ArrayType((3,), np.dtype(float)))
    (y,) = builder.add(registry["sin"], [x], {})
    run = executable.executable(builder.build([y]), True, None)
    with pytest.raises(CompileError, match="other shapes"):
        run([np.ones(4)])


def test_another_layout_of_arrays_is_noticed(monkeypatch):
    monkeypatch.setattr(frame, "FLAGS", frame.NDIM)
    with pytest.raises(CompileError, match="lays out arrays"):
        frame.check_layout()


def test_a_callback_may_call_the_same_function():
    @pb.custom_jvp
    def halves(x):
        if isinstance(x, np.ndarray) and x.max() > 1:
            return f(x / 2)[0]
        return x

    halves.defjvp(lambda p, t: (halves(p[0]), t[0]))
    f = pb.compile(lambda x: (halves(x) + 1, x * 3))
    for _ in range(2):
        first, second = f(np.array([8.0]))
        assert float(first[0]) == 5.0  # 8 -> 4 -> 2 -> 1, and 1 on the way back each time
        assert float(second[0]) == 24.0


def test_a_callback_may_keep_and_change_what_it_is_given():
    kept = []

    @pb.custom_jvp
    def greedy(x):
        if isinstance(x, np.ndarray):
            kept.append(x)
            x[0] = -1.0
        return x + 1

    greedy.defjvp(lambda p, t: (p[0] + 1, t[0]))
    f = pb.compile(lambda x: greedy(x) + greedy(x * 2))
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(f(x), [0.0, 8.0])
    f(x * 100)
    np.testing.assert_array_equal(x, [1.0, 2.0])
    np.testing.assert_array_equal(kept[:2], [[-1.0, 2.0], [-1.0, 4.0]])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_an_exception_skips_the_rest_and_leaves_the_function_usable(error):
    calls = []

    @pb.custom_jvp
    def picky(x):
        if isinstance(x, np.ndarray):
            calls.append(float(x))
            if x == 1.0:
                raise error
        return 2.0 * x

    picky.defjvp(lambda p, t: (picky(p[0]), 2 * t[0]))
    f = pb.compile(lambda x: picky(picky(x)))
    with pytest.raises(error):
        f(np.array(1.0))
    assert calls == [1.0]
    assert float(f(np.array(3.0))) == 12.0
    assert calls == [1.0, 3.0, 6.0]


def test_threads_have_their_own_memory_and_errors():
    @pb.custom_jvp
    def checked(x):
        if isinstance(x, np.ndarray):
            barrier.wait()  # all threads are inside at once
            if x[0] < 0:
                raise ValueError(f"thread {x[0]:.0f}")
        return x

    checked.defjvp(lambda p, t: (p[0], t[0]))
    f = pb.compile(lambda x: np.cumsum(checked(np.cumsum(x)))[-1])
    n = 4
    barrier = threading.Barrier(n)
    results: dict[int, object] = {}

    def work(k):
        try:
            results[k] = float(f(np.full(500, float(k))))
        except ValueError as error:
            results[k] = str(error)

    barrier = threading.Barrier(1)
    f(np.ones(500))
    barrier = threading.Barrier(n)
    for _ in range(5):
        threads = [threading.Thread(target=work, args=(k,)) for k in (-2, -1, 1, 2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        total = float(np.cumsum(np.cumsum(np.ones(500)))[-1])
        assert results == {-2: "thread -2", -1: "thread -1", 1: total, 2: 2 * total}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on():
    f = pb.compile(lambda x: np.sin(x) @ x)
    x = np.linspace(0, 1, 50)
    expected = float(f(x))
    child = os.fork()
    if child == 0:
        good = float(f(x)) == expected and float(pb.compile(lambda x: np.cos(x)[0])(x)) == 1.0
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert float(f(x)) == expected


def test_a_signature_is_compiled_once(monkeypatch):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")
    made = []
    original = executable.emit_program
    monkeypatch.setattr(executable, "emit_program", lambda *a: made.append(a) or original(*a))
    f = pb.compile(lambda x: x + 1)
    for _ in range(3):
        f(X)
    assert len(made) == 1


PROGRAMS = {
    "gradient": pb.grad(lambda x: np.sum(np.tanh(x @ x.T) ** 2)),
    "loop": lambda x: pb.scan(lambda c, r: (np.sin(c) + r, c), x[0], x)[0],
    "branch": lambda x: pb.cond(x[0, 0] > 0, np.exp, np.negative, x),
    "index": lambda x: x[np.array([0, -1])],
    "callback": lambda x: np.linalg.inv(x @ x.T),
}


def layers(ws, x):
    for w in ws:
        x = np.tanh(x @ w)
    return np.sum(x)


def test_layers_of_one_shape_share_their_code():
    f = pb.compile(pb.grad(layers))
    counts = []
    for depth in (4, 8):
        ws = [np.full((3, 3), 0.1 * (k + 1)) for k in range(depth)]
        counts.append(f.show("llvm", ws, X).count("define internal"))
        for found, expected in zip(f(ws, X), pb.grad(layers)(ws, X), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("name", [*PROGRAMS, "entry"])
def test_programs_compile_for_arm64(name, monkeypatch):
    monkeypatch.setattr(assembler, "processor", lambda: processor_with({"neon": True}))
    assembler.llvm.initialize_all_targets()
    assembler.llvm.initialize_all_asmprinters()
    arm = assembler.llvm.Target.from_triple("aarch64-linux-gnu").create_target_machine(opt=2)
    text = entry.emit_entry() if name == "entry" else pb.compile(PROGRAMS[name]).show("llvm", X)
    code = assembler.compile_text(text, arm)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[18:20], "little") == 183  # EM_AARCH64
    assert b"\0main\0" in code
