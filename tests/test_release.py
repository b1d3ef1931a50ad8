"""The release script, on a copy: fragments are folded, the version is written once."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = ("scripts/release", "CHANGELOG.md", "CITATION.cff", "README.md", "src/pullback/__init__.py")


@pytest.fixture
def copy(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "changelog.d", tmp_path / "changelog.d")
    return tmp_path


def release(root, *arguments):
    command = [sys.executable, root / "scripts" / "release", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_fragments_become_lines_of_the_changelog(copy):
    fragments = [p for p in (copy / "changelog.d").iterdir() if p.name != "README.md"]
    texts = [" ".join(p.read_text().split()) for p in fragments]
    done = release(copy, "0.9.1", "2027-01-02")
    assert done.returncode == 0, done.stderr
    log = (copy / "CHANGELOG.md").read_text()
    assert log.startswith("# Changelog")
    assert re.findall(r"^## (.*)$", log, re.MULTILINE) == ["0.9.1 (2027-01-02)"]
    assert all(f"- {text}\n" in log for text in texts)
    assert [p.name for p in (copy / "changelog.d").iterdir()] == ["README.md"]
    for name in FILES[2:]:
        assert "0.9.1" in (copy / name).read_text()
        assert "0.1.0" not in (copy / name).read_text()
    (copy / "changelog.d" / "later.fixed.md").write_text("Something later.\n")
    assert release(copy, "0.9.2", "2027-02-03").returncode == 0
    again = (copy / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", again, re.MULTILINE)
    assert headings == ["0.9.2 (2027-02-03)", "0.9.1 (2027-01-02)"]
    assert "- Something later.\n" in again
    assert all(f"- {text}\n" in again for text in texts)


def test_what_is_no_version_changes_nothing(copy):
    before = {name: (copy / name).read_text() for name in FILES}
    done = release(copy, "next")
    assert done.returncode == 1
    assert "next is no version" in done.stderr
    assert {name: (copy / name).read_text() for name in FILES} == before
