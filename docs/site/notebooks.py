"""Pages as notebooks: converted, executed, and offered for download at the end of each page."""

from __future__ import annotations

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDERS = ("learn", "tutorial")
SINGLE = ("start.md",)
PRINTED = re.compile(r"^```text\n.*?^```$\n?", re.MULTILINE | re.DOTALL)


def write(docs: Path, out: Path) -> list[Path]:
    """Execute every page that is a tutorial; the notebooks go to ``out``.

    Raises:
        CellExecutionError: where a cell fails.
    """
    pages = [docs / name for name in SINGLE]
    pages += [page for folder in FOLDERS for page in sorted((docs / folder).glob("*.md"))]
    pages = [page for page in pages if "```python" in page.read_text()]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(partial(notebook, docs=docs, out=out), pages))


def notebook(page: Path, docs: Path, out: Path) -> Path:
    """One page: its printed results are left out, since running it makes them."""
    text = PRINTED.sub("", page.read_text()).replace("```sh\n", "```console\n")  # not for a cell
    made = jupytext.reads(text, fmt="md")
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    with tempfile.TemporaryDirectory() as sockets:
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel")
        NotebookClient(made, km=manager, timeout=300).execute()
    target = out / page.relative_to(docs).with_suffix(".ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, target)
    up = "../" * (len(page.relative_to(docs).parents) - 1)
    address = f"{up}_notebooks/{target.relative_to(out).as_posix()}"
    link = f'<a href="{address}" download>Download this page as a notebook</a>'
    page.write_text(f"{page.read_text()}\n{link}\n")
    return target
