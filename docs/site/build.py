"""Build the site: ``python docs/site/build.py [OUT]``, ``./scripts/docs`` with everything checked.

The pages of ``docs/`` are copied to a folder of their own; the reference, the gallery and the
pages of the repository's root are written beside them; Sphinx makes the site of it. A warning is
an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import gallery
import notebooks
import reference

HERE = Path(__file__).parent
DOCS = HERE.parent
ROOT = DOCS.parent
PROJECT = {"ARCHITECTURE.md": "architecture.md", "CONTRIBUTING.md": "contributing.md"}
OF_ROOT = re.compile(r"\[([^]]+)\]\(([^):]+)\)")
LINK = re.compile(r"(\]\()((?:\.\./)*)([^)#:\s]+)([^)]*\))")


def build(out: Path) -> None:
    """Write the whole site to ``out``."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "docs"
        shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("site", "__pycache__"))
        for page in source.rglob("*.md"):
            page.write_text(LINK.sub(partial(inside, page=page, source=source), page.read_text()))
        (source / "project").mkdir()
        for name, target in PROJECT.items():
            (source / "project" / target).write_text(OF_ROOT.sub(here, (ROOT / name).read_text()))
        reference.write(source / "reference")
        gallery.write(source / "gallery")
        with tempfile.TemporaryDirectory() as made:
            notebooks.write(source, Path(made))
            shutil.copytree(made, out / "_notebooks", dirs_exist_ok=True)
        gallery.write_lessons(out / "lessons")
        sphinx = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"]
        subprocess.run([*sphinx, "-j", "2", "-c", HERE, source, out], check=True)


def inside(match: re.Match[str], page: Path, source: Path) -> str:
    """A link to a file of the root, as a link to its page in the site."""
    before, up, path, after = match.groups()
    if path not in PROJECT or (page.parent / up).resolve() != source.parent.resolve():
        return match.group()
    to_docs = "../" * (len(page.relative_to(source).parents) - 1)
    return f"{before}{to_docs}project/{PROJECT[path]}{after}"


def here(match: re.Match[str]) -> str:
    """A link of a page of the root: to a page of the site if there is one, or else its text."""
    text, path = match.groups()
    if path in PROJECT:
        return f"[{text}]({PROJECT[path]})"
    if path.startswith("docs/"):
        return f"[{text}](../{path.removeprefix('docs/')})"
    return text


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site")
