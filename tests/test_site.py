"""The code of the site: what is copied, linked and listed. ``./scripts/docs`` builds it all."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pullback as pb

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "examples" / "gallery").glob("*.py"))
LESSONS = sorted((ROOT / "examples" / "lessons").glob("*.py"))


@pytest.fixture
def site(monkeypatch):
    """The modules of ``docs/site`` by name."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    yield importlib.import_module
    for name in ("build", "gallery", "reference"):
        sys.modules.pop(name, None)


def test_every_public_name_has_a_place_in_the_reference(site, tmp_path):
    site("reference").write(tmp_path)
    pages = {path.stem: path.read_text() for path in tmp_path.glob("*.md")}
    for name in pb.__all__:
        value = getattr(pb, name)
        if type(value).__name__ == "module":
            inside = [page for page in pages if page.startswith(f"pullback.{name}")]
            assert inside or name in ("numpy", "scipy"), name
        else:
            assert f"## {name}\n" in pages["pullback"]
    assert "autofunction:: pullback.nn.softmax_cross_entropy" in pages["pullback.nn"]


def test_links_to_the_root_lead_to_pages_of_the_site(site):
    build = site("build")
    source, page = Path("/site"), Path("/site/internals/tour.md")

    def linked(text):
        return build.LINK.sub(lambda match: build.inside(match, page, source), text)

    assert linked("[a](../../ARCHITECTURE.md)") == "[a](../project/architecture.md)"
    assert linked("[a](../flow.md#x)") == "[a](../flow.md#x)"
    root = "[a](docs/flow.md), [b](ARCHITECTURE.md), [c](changelog.d/README.md), [d](https://x.y)"
    expected = "[a](../flow.md), [b](architecture.md), c, [d](https://x.y)"
    assert build.OF_ROOT.sub(build.here, root) == expected


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_examples_are_short_and_say_what_they_show(site, script):
    title, text = site("gallery").described(script)
    assert len(script.read_text().splitlines()) < 60
    assert title
    assert text
    assert f'"{script.stem}.png"' in script.read_text()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda s: s.stem)
def test_lessons_write_pages_that_a_chapter_leads_to(site, lesson, tmp_path):
    page = tmp_path / "page.html"
    site("gallery").run(lesson, page)
    assert page.read_text().startswith("<!doctype html>")
    chapters = [p.read_text() for p in (ROOT / "docs" / "learn").glob("*.md")]
    assert sum(f'href="../lessons/{lesson.stem}.html"' in text for text in chapters) == 1


def test_a_broken_example_stops_the_build(site, tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("raise ValueError('no picture')")
    with pytest.raises(SystemExit, match=r"broken.py failed:[^$]*no picture"):
        site("gallery").run(script, tmp_path / "broken.png")


def test_a_page_becomes_a_notebook_that_was_run(tmp_path):
    page = tmp_path / "docs" / "learn" / "page.md"
    page.parent.mkdir(parents=True)
    page.write_text(
        "# Title\n\n```python\nprint(6 * 7)\n```\n\n```text\n42\n```\n\n```sh\nls\n```\n"
    )
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import notebooks; "
        "notebooks.notebook(*map(Path, sys.argv[2:]))"  # a process, since clients leave sockets
    )
    places = [ROOT / "docs" / "site", page, tmp_path / "docs", tmp_path / "out"]
    subprocess.run([sys.executable, "-c", code, *places], check=True)
    made = tmp_path / "out" / "learn" / "page.ipynb"
    cells = json.loads(made.read_text())["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "markdown"]
    assert cells[1]["outputs"][0]["text"] == ["42\n"]
    assert 'href="../_notebooks/learn/page.ipynb"' in page.read_text()


def test_formulas_need_no_network():
    text = (ROOT / "docs" / "site" / "conf.py").read_text()
    assert not re.search(r"https?://", text)
