"""Files: only plain ones are read, and new ones appear whole."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from pullback.files import TooLargeError, opened, replacing


def test_only_plain_files_of_bounded_size_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    with opened(path, 5) as file:
        assert file.read() == b"12345"
    with pytest.raises(TooLargeError, match="it has 5 bytes, the most that is read 4"):
        opened(path, 4)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(OSError, match="it is no plain file"):
            opened(other)
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "none")
    (tmp_path / "link").symlink_to(path)
    with opened(tmp_path / "link") as file:
        assert file.read() == b"12345"


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def fail(file: BinaryIO, error: type[BaseException]) -> None:
    file.write(b"half")
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_given_up_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    for before in ([], ["file"]):
        with pytest.raises(error), replacing(path) as file:
            fail(file, error)
        assert os.listdir(tmp_path) == before
        path.write_text("old")
    assert path.read_text() == "old"


def test_the_mask_of_the_user_counts(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "file") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_links_are_followed_and_devices_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with replacing(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "x"
    (tmp_path / "null").symlink_to("/dev/null")
    with replacing(tmp_path / "null") as file:
        file.write(b"x")
    assert Path("/dev/null").is_char_device()
