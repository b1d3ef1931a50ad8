"""The frame of every page: head, styles, sections, data and script in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from pullback.files import replacing

__all__ = ["Section", "document", "fragment", "save", "table"]


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading: ``html`` is written as it is."""

    title: str
    html: str

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")


def document(title: str, lead: str, sections: Sequence[Section], data: Any = None) -> str:
    """A whole page.

    Args:
        title: of the window and of the page.
        lead: a sentence below the title.
        sections: the page's parts, in order.
        data: what the page shows, as JSON: scripts read it, and so can readers.
    """
    links = "".join(f'<li><a href="#{s.anchor}">{escape(s.title)}</a></li>' for s in sections)
    parts = "".join(
        f'<section id="{s.anchor}" aria-labelledby="{s.anchor}-title">'
        f'<h2 id="{s.anchor}-title">{escape(s.title)}</h2>{s.html}</section>'
        for s in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_file('page.css')}</style></head><body>"
        '<a class="skip" href="#main">Skip to the content</a>'
        f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main id="main">{parts}</main>'
        f'<script type="application/json" id="data">{_json(data)}</script>'
        f"<script>{_file('page.js')}</script></body></html>"
    )


def fragment(html: str) -> str:
    """A part of a page for a notebook, with styles that reach no further."""
    return f'<div class="pullback"><style>{_file("fragment.css")}</style>{html}</div>'


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str,
    identifiers: Sequence[str] = (),
) -> str:
    """A table that scrolls by itself when it is wide; its first column names the rows."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headings)
    body = []
    for number, (first, *others) in enumerate(rows):
        name = f' id="{identifiers[number]}"' if identifiers else ""
        cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in others)
        body.append(f'<tr{name}><th scope="row">{escape(str(first))}</th>{cells}</tr>')
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def save(path: str | os.PathLike[str], page: str) -> Path:
    """Write a page in one step: an old file stays whole until the new one is."""
    with replacing(Path(path)) as file:
        file.write(page.encode())
    return Path(path)


def _file(name: str) -> str:
    return (files("pullback.pages") / name).read_text(encoding="utf-8")


def _json(data: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")
