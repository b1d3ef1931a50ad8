"""Every example that people can read runs: README, docs pages, docstrings.

In a page, ``python`` blocks share one namespace, top to bottom. A block with ``>>>`` is a doctest;
another block is executed, and a ``text`` block right after it must be what it printed.
"""

import contextlib
import doctest
import importlib
import io
import linecache
import pkgutil
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import errors

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
# Pages that are written when the site is built; Sphinx checks the links to them.
WRITTEN = {ROOT / "docs" / name / "index.md" for name in ("gallery", "reference")}
MODULES = [m.name for m in pkgutil.walk_packages(pb.__path__, "pullback.")]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<printed>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\((?!https?://|#)(?P<target>[^)#\s]+)(?P<anchor>#[^)]*)?\)")
ERRORS = [getattr(errors, name) for name in errors.__all__ if name != "PullbackError"]


def run_doctest(test: doctest.DocTest) -> None:
    report = io.StringIO()
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.write, clear_globs=False)
    assert result.failed == 0, report.getvalue()


def run_block(page: Path, text: str, match: re.Match[str], names: dict[str, Any]) -> str:
    """Execute a block, each line under its number in the page, so that errors quote it."""
    linecache.cache[page.name] = (len(text), None, text.splitlines(keepends=True), page.name)
    code = "\n" * text.count("\n", 0, match.start("code")) + match["code"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, page.name, "exec"), names)
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    names: dict[str, Any] = {}
    for match in BLOCK.finditer(text):
        code, line = match["code"], text.count("\n", 0, match.start()) + 1
        where = f"{page.name}:{line}"
        if ">>>" in code:
            parser = doctest.DocTestParser()
            test = parser.get_doctest(code, names, where, str(page), line)
            run_doctest(test)
            names.update(test.globs)
            continue
        printed = run_block(page, text, match, names)
        if match["printed"] is not None:
            checker = doctest.OutputChecker()
            assert checker.check_output(match["printed"], printed, FLAGS), f"{where}:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text())]
    lost = [t for t in targets if not (page.parent / t).exists()]
    assert [t for t in lost if (page.parent / t).resolve() not in WRITTEN] == []


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        if not is_numpys(test.name):
            run_doctest(test)


def is_numpys(name: str) -> bool:
    """Whether it is documented by NumPy: a class whose code runs on traced arrays, too."""
    public = name.removeprefix("pullback.numpy.").split(".")[0]
    kind, own = getattr(np, public, None), getattr(pb.numpy, public, None)
    return isinstance(kind, type) and isinstance(own, type) and own.__doc__ == kind.__doc__


def page_of(error: type[Exception]) -> Path:
    slug = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", error.__name__).lower()
    return ROOT / "docs" / "errors" / f"{slug}.md"


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_every_error_has_a_page_that_raises_it(error: type[Exception]) -> None:
    assert page_of(error).exists(), page_of(error)
    text = page_of(error).read_text()
    assert text.startswith(f"# {error.__name__}\n")
    # The page opens with the docstring, so that the two cannot drift apart.
    assert (error.__doc__ or "").strip().splitlines()[0] in text
    assert re.search(rf"^pullback\.errors\.{error.__name__}: ", text, re.MULTILINE), "not raised"
    assert text.index("## What goes wrong") < text.index("## What to write instead")


def test_the_tree_of_errors_is_complete() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert drawn == {error.__name__ for error in ERRORS}
