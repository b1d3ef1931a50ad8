"""Object code on disk: found again, never trusted blindly, never in the way."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import pullback as pb
from pullback.compiler import executable
from pullback.compiler.llvm import assembler
from pullback.compiler.runtime import cache
from pullback.compiler.runtime.stored import digest
from pullback.compiler.schedule import target

X = np.linspace(-1.0, 1.0, 7)


@pytest.fixture(autouse=True)
def _shared():
    """What all programs share is compiled once a process: not during a test."""
    for emit in (executable.emit_entry, executable.emit_pool):
        executable.begun(emit)()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compiled(monkeypatch):
    """Texts that were compiled, not loaded."""
    texts = []
    original = assembler.units

    def units(text):
        texts.append(text)
        return original(text)

    monkeypatch.setattr(assembler, "units", units)
    return texts


def run():
    """Stage, compile and call as a fresh process would."""
    assembler.compiled.cache_clear()
    executable.executables.clear()
    f = pb.compile(lambda x: np.sum(np.sin(x) @ np.cos(x)) + np.sort(x)[0])
    np.testing.assert_allclose(f(X), np.sum(np.sin(X) @ np.cos(X)) + X[0], rtol=1e-14)


def entry(folder):
    """The file of the program (that of the way in was linked before)."""
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def stored(folder, compiled):
    run()
    compiled.clear()
    return entry(folder)


def test_a_second_process_compiles_nothing(stored, compiled):
    run()
    assert compiled == []


def test_the_same_function_staged_again_compiles_nothing(stored, compiled, monkeypatch):
    for _ in range(2):
        pb.compile(lambda x: np.tanh(x) * 3.5)(X)
    assert len(compiled) == 1


DAMAGE = {
    "truncated": lambda good: good[: len(good) // 2],
    "only a checksum": lambda good: good[:32],
    "empty": lambda good: b"",
    "one bit": lambda good: good[:-9] + bytes([good[-9] ^ 4]) + good[-8:],
    "other checksum": lambda good: bytes(32) + good[32:],
    "text": lambda good: b"not object code",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_entry_is_compiled_again(name, stored, compiled):
    good = stored.read_bytes()
    stored.write_bytes(DAMAGE[name](good))
    run()
    assert len(compiled) == 1
    assert stored.read_bytes()[:32] == good[:32]


def test_an_entry_of_another_program_is_not_taken(stored, compiled, folder):
    assert cache.load(stored.name) is not None
    other = folder / ("0" * 64)
    stored.rename(other)
    assert cache.load(other.name) is None


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (executable.llvmlite, "__version__", "0.1"),
        (executable, "features", lambda: "pentium"),
    ],
)
def test_code_of_other_versions_is_left_alone(module, name, other, stored, compiled, monkeypatch):
    before = stored.read_bytes()
    name_before = executable.key_of("text")
    monkeypatch.setattr(module, name, other)
    assert executable.key_of("text") != name_before
    assert stored.read_bytes() == before


def test_where_linux_lists_no_features_llvm_does(stored, tmp_path, monkeypatch):
    before = executable.key_of("text")
    for content in (None, "processor : 0\n\nprocessor : 1\n"):
        listed = tmp_path / "cpuinfo"
        if content is not None:
            listed.write_text(content)
        monkeypatch.setattr(target, "LIST", str(listed))
        target.features.cache_clear()
        assert target.features() == ""
        assert executable.key_of("text") != before
        monkeypatch.setattr(assembler.llvm, "get_host_cpu_name", lambda: "pentium")
        other = executable.key_of("text")
        monkeypatch.undo()
        monkeypatch.setattr(target, "LIST", str(listed))
        assert executable.key_of("text") != other
    target.features.cache_clear()


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, compiled):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "cache", tmp_path / "file"):
        monkeypatch.setenv("PULLBACK_CACHE_DIR", str(place))
        compiled.clear()
        run()
        assert len(compiled) == 1


def test_a_full_disk_is_done_without(folder, monkeypatch, compiled):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    run()
    assert len(compiled) == 1


def test_an_empty_name_switches_it_off(tmp_path, monkeypatch, compiled):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run()
    assert len(compiled) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_default_folder_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.delenv("PULLBACK_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run()
    assert (tmp_path / "pullback").stat().st_mode & 0o077 == 0
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.folder() == str(tmp_path / "home" / ".cache" / "pullback")


def test_the_least_recently_used_go_first(folder, monkeypatch):
    monkeypatch.setattr(cache, "MAX_BYTES", 3 * (100 + cache.DIGEST_BYTES))
    folder.mkdir()
    (folder / "tmp-of-a-killed-writer").write_bytes(b"half")
    os.utime(folder / "tmp-of-a-killed-writer", (1, 1))
    for age, key in enumerate("abc"):
        cache.store(key, b"x" * 100)
        os.utime(folder / key, (10 + age, 10 + age))
    assert cache.load("a") == b"x" * 100  # now b is the oldest
    cache.store("d", b"x" * 100)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "c", "d"]


# -- keys -------------------------------------------------------------------------------------
def test_a_program_on_disk_is_found_without_emitting_it(stored, monkeypatch):
    def fail(*args):
        raise AssertionError("emitted")

    monkeypatch.setattr(executable, "emit_program", fail)
    run()


def test_a_failure_in_code_from_the_disk_names_the_line(folder, compiled):
    def picked(x, i):
        return np.exp(x)[i]

    for _ in range(2):
        assembler.compiled.cache_clear()
        executable.executables.clear()
        f = pb.compile(picked)
        np.testing.assert_allclose(f(X, 6), np.exp(X[6]), rtol=1e-15)
        with pytest.raises(
            IndexError, match=r"float64\[7\], at test_cache.py:\d+ in picked: return"
        ):
            f(X, 7)
    assert len(compiled) == 1


def loop(n, step=1):
    return lambda x: pb.scan(lambda c, _: (np.sin(c) * 2.0, None), 1.0 * x[::step], None, n)[0]


DIFFERENT = [
    lambda x: x + 1.0,
    lambda x: x + 1,
    lambda x: x + np.float32(1.0),
    lambda x: x - 1.0,
    lambda x: x * -0.0,
    lambda x: x * 0.0,
    lambda x: (x + 1.0, x),
    lambda x: (x, x + 1.0),
    lambda x: np.sum(x),
    lambda x: np.sum(x, keepdims=True),
    lambda x: np.mean(x),
    lambda x: x[1:],
    lambda x: x[:-1],
    lambda x: x[::2],
    lambda x: x[..., 2:],
    lambda x: x[..., None],
    lambda x: x.astype(np.float32),
    lambda x: x.astype(np.int64),
    lambda x: x - np.roll(x, 1) * x,
    lambda x: np.roll(x, 1) - x * x,
    lambda x: np.roll(x, 1) * x - x,
    loop(3),
    loop(4),
    loop(3, 2),
    pb.checkpoint(lambda x: np.sin(np.sin(x))),
    pb.checkpoint(lambda x: np.sin(np.cos(x))),
    lambda x: pb.vjp(pb.checkpoint(lambda x: np.sin(np.sin(x))), x * 1.0)[1](x * 1.0),
]


def staged(fun, x):
    return pb.transforms.stage.stage(
        lambda *args: pb.tree.flatten(fun(*args))[0], [pb.core.types.type_of(x)]
    ).graph


def test_different_graphs_have_different_keys_and_equal_ones_the_same():
    inputs = (X, X.astype(np.float32), X.astype(np.int64), X[:6])
    keys = [digest(staged(f, x)) for f in DIFFERENT for x in inputs]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert keys == [digest(staged(f, x)) for f in DIFFERENT for x in inputs]


def test_a_graph_with_foreign_objects_has_no_key():
    @pb.custom_jvp
    def custom(x):
        return np.exp(x)

    custom.defjvp(lambda p, t: (np.exp(p[0]), np.exp(p[0]) * t[0]))
    assert digest(staged(custom, X)) is None


def test_other_source_files_give_other_keys(monkeypatch):
    before = executable.key_of("x")
    monkeypatch.setattr(executable, "surroundings", lambda: "edited")
    assert executable.key_of("x") != before


PROGRAM = """
import numpy as np, pullback as pb
from pullback.compiler.llvm import assembler
count, original = [], assembler.units
assembler.units = lambda text: count.append(1) or original(text)
x = np.linspace(-1.0, 1.0, 7)
for k in range(6):
    f = pb.compile(pb.grad(lambda x: np.sum(np.sort(x)[:k] * np.exp(x)[:k])))
    assert np.allclose(f(x), np.where(np.arange(7) < k, (x + 1) * np.exp(x), 0)), k
print(len(count))
"""


def test_two_processes_at_a_time_and_one_after_them(folder):
    def start(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PROGRAM]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    both = [start("1"), start("2")]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert not [path for path in folder.iterdir() if path.name.startswith("tmp-")]
    after = start("3")
    assert after.communicate()[0] == "0\n"
    assert after.returncode == 0
