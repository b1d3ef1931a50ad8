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
    assert cache.load(stored.stem) is not None
    other = folder / ("0" * 64 + cache.SUFFIX)
    stored.rename(other)
    assert cache.load(other.stem) is None


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (executable, "llvm_version", lambda: "0.1"),
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
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    run()
    assert len(compiled) == 1
    assert list(folder.iterdir()) == []  # nor is there half a file


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


KEYS = ["a" * 64, "b" * 64, "c" * 64, "d" * 64]


def fill(folder, monkeypatch):
    """Three entries, which are as much as fits, and what a killed writer has left."""
    monkeypatch.setattr(cache, "MAX_BYTES", 3 * (100 + cache.DIGEST_BYTES))
    folder.mkdir(mode=0o700)
    half = folder / f"tmp-{'0' * 16}{cache.SUFFIX}"
    half.write_bytes(b"half")
    os.utime(half, (1, 1))
    for age, key in enumerate(KEYS[:3]):
        cache.store(key, b"x" * 100)
        os.utime(folder / (key + cache.SUFFIX), (10 + age, 10 + age))


def test_the_least_recently_used_go_first(folder, monkeypatch):
    fill(folder, monkeypatch)
    assert cache.load(KEYS[0]) == b"x" * 100  # now the second is the oldest
    cache.store(KEYS[3], b"x" * 100)
    assert sorted(path.stem for path in folder.iterdir()) == [KEYS[0], KEYS[2], KEYS[3]]


def test_only_our_own_files_are_deleted(folder, tmp_path, monkeypatch):
    fill(folder, monkeypatch)
    foreign = ["notes.txt", "c" * 63, "tmp-of-others", "d" * 64]
    for name in foreign:
        (folder / name).write_bytes(b"y" * 1000)
        os.utime(folder / name, (5, 5))
    outside = tmp_path / "outside"
    outside.write_bytes(b"z" * 1000)
    (folder / ("e" * 64 + cache.SUFFIX)).symlink_to(outside)
    (folder / ("f" * 64 + cache.SUFFIX)).mkdir()
    cache.store(KEYS[3], b"x" * 100)
    left = {path.name for path in folder.iterdir()}
    assert left.issuperset(foreign)
    assert {path.stem for path in folder.iterdir() if path.stem in KEYS} == set(KEYS[1:])
    assert outside.read_bytes() == b"z" * 1000


# -- what is trusted --------------------------------------------------------------------------
@pytest.fixture
def alone():
    """A process that has not yet warned, or made a folder of its own."""
    cache.own_folder.cache_clear()
    yield
    cache.own_folder.cache_clear()


def other_owner(monkeypatch, path, uid=12345):
    """Let a file or a folder seem to belong to somebody else."""
    number = os.stat(path).st_ino

    def seen(ask):
        def answer(*args, **kwargs):
            state = ask(*args, **kwargs)
            fields = list(state)
            if state.st_ino == number:
                fields[4] = uid
            return os.stat_result(fields)

        return answer

    monkeypatch.setattr(os, "fstat", seen(os.fstat))
    monkeypatch.setattr(os, "lstat", seen(os.lstat))


def open_to_all(monkeypatch, path):
    os.chmod(path, 0o777)


def open_to_a_group(monkeypatch, path):
    os.chmod(path, 0o770)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (open_to_all, r"others may write the folder .* \(mode 777\)"),
        (open_to_a_group, r"others may write the folder .* \(mode 770\)"),
        (other_owner, r"the folder .* belongs to user 12345"),
    ],
)
@pytest.mark.parametrize("above", [False, True])
def test_a_folder_that_others_can_write_is_not_read(
    spoil, message, above, stored, compiled, monkeypatch, alone
):
    before = stored.read_bytes()
    spoil(monkeypatch, stored.parent.parent if above else stored.parent)
    with pytest.warns(RuntimeWarning, match=message) as notices:
        run()
    run()  # warns no more, and finds the code in the private folder
    assert len(compiled) == 1
    assert len(notices) == 1
    assert stored.read_bytes() == before
    private = cache.own_folder()
    assert os.stat(private).st_mode & 0o777 == 0o700
    assert len(os.listdir(private)) == 1


def test_the_remedy_of_the_warning_works(stored, compiled, monkeypatch, alone):
    os.chmod(stored.parent, 0o777)
    with pytest.warns(RuntimeWarning, match="Fix: chmod go-w") as notices:
        run()
    subprocess.run(str(notices[0].message).rpartition("Fix: ")[2].split(), check=True)
    compiled.clear()
    run()
    assert compiled == []


@pytest.mark.parametrize("spoil", [open_to_all, open_to_a_group, other_owner])
def test_a_file_that_others_can_write_is_not_read(spoil, stored, compiled, monkeypatch):
    spoil(monkeypatch, stored)
    run()
    assert len(compiled) == 1
    assert stored.stat().st_mode & 0o777 == 0o600


def test_links_and_pipes_are_not_followed(stored, compiled, tmp_path):
    moved = stored.rename(tmp_path / "moved")
    for make in (
        lambda: stored.symlink_to(moved),
        lambda: os.mkfifo(stored, 0o600),
        lambda: os.symlink("/dev/zero", stored),
    ):
        make()
        compiled.clear()
        run()  # a pipe would wait for its writer
        assert len(compiled) == 1
        assert stored.is_file()
        assert not stored.is_symlink()
        stored.unlink()


def test_an_entry_larger_than_the_cache_is_not_read(stored, compiled):
    os.truncate(stored, cache.MAX_BYTES + 1)
    run()
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PULLBACK_CACHE_DIR": "below", "HOME": "/home/me"}, None),
        ({"HOME": "here"}, None),
        ({"XDG_CACHE_HOME": "below", "HOME": "/home/me"}, "/home/me/.cache/pullback"),
        ({"XDG_CACHE_HOME": "/var/me", "HOME": "here"}, "/var/me/pullback"),
        ({}, None),
    ],
)
def test_nothing_is_kept_below_the_current_directory(
    variables, expected, tmp_path, monkeypatch, alone
):
    monkeypatch.chdir(tmp_path)
    for name in ("PULLBACK_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if not variables:  # a user without an entry in the list of users has no home
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    if expected is not None:
        assert cache.folder() == expected
        return
    with pytest.warns(RuntimeWarning, match="depends on the current directory"):
        cache.store(KEYS[0], b"x")
    assert cache.load(KEYS[0]) == b"x"
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_of_ones_own_is_followed(tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("scratch")
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(tmp_path / "link" / "cache"))
    cache.store(KEYS[0], b"x")
    assert (tmp_path / "scratch" / "cache" / (KEYS[0] + cache.SUFFIX)).is_file()
    assert cache.load(KEYS[0]) == b"x"


def test_all_folders_that_are_made_are_private(tmp_path, monkeypatch):
    mask = os.umask(0)
    try:
        monkeypatch.setenv("PULLBACK_CACHE_DIR", str(tmp_path / "a" / "b"))
        cache.store(KEYS[0], b"x")
    finally:
        os.umask(mask)
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}
    assert cache.load(KEYS[0]) == b"x"


PRIVATE = """
import os, sys, warnings
warnings.simplefilter("ignore")
from pullback.compiler.runtime import cache
cache.store("a" * 64, b"x")
if os.fork() == 0:
    sys.exit()  # a child that ends leaves the folder alone
os.wait()
assert cache.load("a" * 64) == b"x"
print(cache.own_folder())
"""


def test_the_private_folder_is_gone_when_the_process_ends():
    environment = {**os.environ, "PULLBACK_CACHE_DIR": "relative"}
    command = [sys.executable, "-c", PRIVATE]
    place = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert place.stdout.strip()
    assert not os.path.exists(place.stdout.strip())


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
