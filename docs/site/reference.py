"""The reference: one page per public module, written from ``__all__`` and the docstrings."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pullback as pb

MODULES = {
    "pullback": "Transforms, tools, and what they are made of",
    "pullback.tree": "Containers of arrays",
    "pullback.random": "Random numbers from explicit keys",
    "pullback.nn": "Layers, losses, functions",
    "pullback.nn.init": "Initial weights",
    "pullback.nn.meanfield": "Critical initialisation",
    "pullback.optim": "Optimizers",
    "pullback.optimize": "SciPy's solvers, implicit functions",
    "pullback.curvature": "Curvature without matrices",
    "pullback.sparse": "Sparse derivatives",
    "pullback.flow": "Gradient flow",
    "pullback.scipy.special": "scipy.special",
    "pullback.scipy.stats": "scipy.stats",
    "pullback.io": "Files of weights",
    "pullback.train": "Training",
    "pullback.errors": "Errors",
}


def write(folder: Path) -> None:
    """Write a page for each module of ``MODULES``, and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    modules = {**MODULES, **others()}
    for name, title in modules.items():
        module = importlib.import_module(name)
        (folder / f"{name}.md").write_text(page(name, title, module))
        rows.append(f"- [`{name}`]({name}.md): {title}")
    listed = "\n".join(modules)
    (folder / "index.md").write_text(
        "# Reference\n\nEvery public name, from its docstring. `pullback.numpy` has NumPy's names: "
        "see [the coverage of NumPy](../coverage.md).\n\n"
        + "\n".join(rows)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )


def others() -> dict[str, str]:
    """Public modules that the list does not have, under the first words of their docstrings."""
    found = {}
    for name in pb.__all__:
        value = getattr(pb, name)
        full = f"pullback.{name}"
        is_named = any(known == full or known.startswith(f"{full}.") for known in MODULES)
        if inspect.ismodule(value) and not is_named and name != "numpy":
            found[full] = (value.__doc__ or full).split(".")[0].split(":")[0]
    return found


def page(name: str, title: str, module: ModuleType) -> str:
    """The page of one module: its own docstring, then every public name."""
    parts = [f"# {name}\n\n{title}.\n", eval_rst(f".. automodule:: {name}\n   :no-members:\n")]
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.ismodule(value):
            continue
        if getattr(value, "__module__", "pullback").startswith("pullback"):
            parts.append(f"## {public}\n\n{eval_rst(directive(name, public, value))}")
        else:
            parts.append(f"## {public}\n\n`{value.__module__}.{public}`, as it stands.\n")
    return "\n".join(parts)


def directive(module: str, name: str, value: object) -> str:
    """What tells Sphinx to write out a docstring."""
    if inspect.isclass(value):
        return f".. autoclass:: {module}.{name}\n   :members:\n"
    if callable(value):
        return f".. autofunction:: {module}.{name}\n"
    return f".. autodata:: {module}.{name}\n"


def eval_rst(text: str) -> str:
    """A block of reStructuredText in a Markdown page."""
    return f"```{{eval-rst}}\n{text}```\n"
