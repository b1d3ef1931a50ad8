"""The gallery: every script of ``examples/gallery`` with its picture."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "gallery"
LESSONS = ROOT / "examples" / "lessons"


def write(folder: Path) -> None:
    """Run every example, and write its page and the index with all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    cards, names = [], []
    scripts = sorted(EXAMPLES.glob("*.py"))
    pictures = [folder / f"{script.stem}.png" for script in scripts]
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(run, scripts, pictures))
    for script, picture, printed in zip(scripts, pictures, outputs, strict=True):
        title, text = described(script)
        (folder / f"{script.stem}.md").write_text(
            f"# {title}\n\n{text}\n\n```{{image}} {picture.name}\n:alt: {title}\n```\n\n"
            f"```text\n{printed}```\n\n`examples/gallery/{script.name}`:\n\n"
            f"```python\n{script.read_text()}```\n"
        )
        names.append(script.stem)
        cards.append(f"[![{title}]({picture.name}) {title}]({script.stem}.md)")
    listed = "\n".join(names)
    (folder / "index.md").write_text(
        "# Gallery\n\nEach is a script of less than 60 lines that runs within 20 seconds: "
        '`python examples/gallery/NAME.py [PICTURE]`.\n\n<div class="gallery">\n\n'
        + "\n\n".join(cards)
        + f"\n\n</div>\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )


def write_lessons(folder: Path) -> None:
    """Run every lesson: each writes a page of its own, to which the chapters lead."""
    folder.mkdir(parents=True, exist_ok=True)
    for script in sorted(LESSONS.glob("*.py")):
        run(script, folder / f"{script.stem}.html")


def described(script: Path) -> tuple[str, str]:
    """The first line of the docstring, and the rest of it."""
    title, _, text = (ast.get_docstring(ast.parse(script.read_text())) or "").partition("\n")
    return title.rstrip("."), text.strip()


def run(script: Path, picture: Path) -> str:
    """What the script prints; it writes ``picture``, or a page."""
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    command = [sys.executable, str(script), str(picture)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not picture.exists():
        raise SystemExit(f"{script.name} failed:\n{done.stderr}")
    return done.stdout
