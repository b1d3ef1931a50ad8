"""LLVM text in several units, which are compiled at the same time.

A unit defines some functions and declares others that it refers to. What is always inlined, and
constants, are in every unit that needs them.
"""

from __future__ import annotations

import re

__all__ = ["units"]

LEAST_LINES = 400  # of a unit: each takes some milliseconds for itself
MOST_UNITS = 4
NAME = re.compile(r'@"?([\w.]+)')
PARAMETER = re.compile(r' %"?[\w.]+"?')


def units(text: str) -> list[str]:
    """Texts that together have the definitions of ``text``, which is one of llvmlite's."""
    head, *items = re.split(r"\n(?=define |declare |@)", text)
    items[-1], *metadata = re.split(r"\n(?=!)", items[-1], maxsplit=1)
    named = {NAME.search(item)[1]: item for item in items}  # type: ignore[index]
    own = [name for name, item in named.items() if is_function(item)]
    sizes = {name: named[name].count("\n") for name in own}
    n_units = max(1, min(sum(sizes.values()) // LEAST_LINES, MOST_UNITS))
    parts: list[set[str]] = [set() for _ in range(n_units)]
    for name in sorted(own, key=lambda name: -sizes[name]):
        min(parts, key=lambda part: sum(map(sizes.__getitem__, part))).add(name)
    return ["\n".join([head, *unit(named, part), *metadata]) for part in parts]


def is_function(item: str) -> bool:
    """Whether code calls this function where it is, and does not have it inlined."""
    first = item.partition("\n")[0]
    return first.startswith("define ") and not first.endswith("alwaysinline")


def unit(named: dict[str, str], part: set[str]) -> list[str]:
    """Definitions of the functions of a part, and what they refer to."""
    found: dict[str, str] = {}
    waiting = sorted(part)
    while waiting:
        name = waiting.pop()
        if name not in found:
            item = named[name]
            if is_function(item):
                item = item.replace("define internal ", "define ", 1)
                item = item if name in part else declaration(item)
            found[name] = item
            waiting += NAME.findall(item)
    return list(found.values())


def declaration(item: str) -> str:
    """What another unit says about a function."""
    first = item.partition("\n")[0]
    return PARAMETER.sub("", first[: first.rindex(")") + 1]).replace("define ", "declare ", 1)
