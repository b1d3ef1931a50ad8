"""LLVM text in several units, which are compiled at the same time.

A unit defines some functions, and declares those of other units whose addresses it needs. What is
always inlined, and constants, are in every unit that needs them. Functions that call each other
stay together, unless the caller is not optimized: LLVM gives them the arguments that are always the
same.
"""

from __future__ import annotations

import re

__all__ = ["units"]

LEAST_LINES = 400  # of a unit: each takes some milliseconds for itself
MOST_UNITS = 4
NAME = re.compile(r'@"?([\w.]+)')
PARAMETER = re.compile(r' %"?[\w.]+"?')


def units(text: str) -> list[str]:
    """Texts that together define what ``text`` does; it is one of llvmlite's."""
    n_units = min(text.count("\n") // LEAST_LINES, MOST_UNITS)
    if n_units < 2:
        return [text]
    head, *items = re.split(r"\n(?=define |declare |@)", text)
    items[-1], *metadata = re.split(r"\n(?=!)", items[-1], maxsplit=1)
    named = {NAME.findall(item)[0]: item for item in items}
    groups = callers_and_callees(named)
    lines = [sum(named[name].count("\n") for name in group) for group in groups]
    parts: list[tuple[int, set[str]]] = [(0, set())] * min(n_units, len(groups))
    for n, group in sorted(zip(lines, groups, strict=True), key=lambda pair: -pair[0]):
        parts.sort(key=lambda part: part[0])
        parts[0] = parts[0][0] + n, parts[0][1] | group
    found = [referred_to(named, part) for _, part in parts]
    shared = {
        name
        for (_, part), names in zip(parts, found, strict=True)
        for name in names - part
        if is_function(named[name])
    }
    return [
        "\n".join(
            [head, *(in_unit(named, name, part, shared) for name in sorted(names)), *metadata]
        )
        for (_, part), names in zip(parts, found, strict=True)
    ]


def is_function(item: str) -> bool:
    """Whether code calls this function where it is, and does not have it inlined."""
    first = item.partition("\n")[0]
    return first.startswith("define ") and not first.endswith("alwaysinline")


def is_unoptimized(item: str) -> bool:
    return " optnone" in item.partition("\n")[0]


def callers_and_callees(named: dict[str, str]) -> list[set[str]]:
    """Functions in groups that do not call each other, but where the caller is not optimized."""
    groups: dict[str, set[str]] = {name: {name} for name in named if is_function(named[name])}
    for name in list(groups):
        if is_unoptimized(named[name]):
            continue
        for other in NAME.findall(named[name]):
            if other in groups and groups[other] is not groups[name]:
                small, large = sorted((groups[name], groups[other]), key=len)
                large |= small
                groups.update(dict.fromkeys(small, large))
    return list({id(group): group for group in groups.values()}.values())


def referred_to(named: dict[str, str], part: set[str]) -> set[str]:
    """The functions of a part, and all that is named in them and in what they take along."""
    found: set[str] = set()
    waiting = list(part)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in part or not is_function(named[name]):
                waiting += NAME.findall(named[name])
    return found


def in_unit(named: dict[str, str], name: str, part: set[str], shared: set[str]) -> str:
    """What a unit says about a name: functions of other units are declared."""
    item = named[name]
    if name not in shared:
        return item
    item = item.replace("define internal ", "define ", 1)
    if name in part:
        return item
    first = item.partition("\n")[0]
    return PARAMETER.sub("", first[: first.rindex(")") + 1]).replace("define ", "declare ", 1)
