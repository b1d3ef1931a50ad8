"""Curves, heat maps and bars as static SVG, each with its numbers in a table behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from pullback.pages.document import table

__all__ = ["bars", "curves", "heat_map"]

WIDTH, HEIGHT = 640.0, 260.0
LEFT, BOTTOM, TOP = 62.0, 34.0, 12.0
STYLES = ("", "6 3", "2 3", "9 3 2 3")  # lines are told apart without their colours, too
MARKS = "●■▲◆✚✖"
CELL = 16.0

Number = float | None


def curves(
    series: Mapping[str, Sequence[Number]],
    title: str,
    x_label: str,
    names: Sequence[str] = (),
    logarithmic: bool = True,
) -> str:
    """Lines over ``0, 1, ...`` (called ``names`` in the table); values that are no numbers gape."""
    drawn = {k: [_height(v, logarithmic) for v in values] for k, values in series.items()}
    heights = [v for values in drawn.values() for v in values if v is not None]
    if not heights:
        return f"<p>{escape(title)}: nothing was measured.</p>"
    low, high = _range(heights)
    n = max(map(len, series.values()))
    step = (WIDTH - LEFT - 10) / max(n - 1, 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [_axis(value, y(value), logarithmic) for value in _ticks(low, high, logarithmic)]
    for number, (_, values) in enumerate(drawn.items()):
        points = [(LEFT + i * step, y(v)) for i, v in enumerate(values) if v is not None]
        d = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        dash = STYLES[number % len(STYLES)]
        parts.append(f'<path class="curve c{number % 6}" stroke-dasharray="{dash}" d="{d}"/>')
        marks = "".join(
            f'<text class="mark c{number % 6}" x="{a:.1f}" y="{b + 3:.1f}">'
            f"{MARKS[number % 6]}</text>"
            for a, b in points[:: max(1, len(points) // 12)]
        )
        parts.append(marks)
    legend = "".join(
        f'<span class="c{i % 6}">{MARKS[i % 6]} {escape(name)}</span>'
        for i, name in enumerate(series)
    )
    labels = list(names) or [str(i) for i in range(n)]
    rows = [
        [labels[i], *(_text(values[i] if i < len(values) else None) for values in series.values())]
        for i in range(n)
    ]
    return _figure(
        title,
        f'<svg class="chart" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}">{"".join(parts)}'
        f'<text class="axis" x="{WIDTH / 2:.0f}" y="{HEIGHT - 6:.0f}">{escape(x_label)}</text>'
        "</svg>"
        f'<p class="legend">{legend}</p>',
        table([x_label, *series], rows, title),
    )


def heat_map(
    rows: Mapping[str, Sequence[Number]], title: str, x_label: str, columns: Sequence[str] = ()
) -> str:
    """A cell for each number, on a scale of logarithms; zero and what is no number are marked."""
    logs = [_height(v, True) for values in rows.values() for v in values]
    found = [v for v in logs if v is not None]
    low, high = _range(found or [0.0])
    left = 9 + 7 * max(map(len, rows))
    n = max(map(len, rows.values()))
    cells = []
    for i, (name, values) in enumerate(rows.items()):
        cells.append(
            f'<text class="axis end" x="{left - 6}" y="{i * CELL + 12:.0f}">{escape(name)}</text>'
        )
        for j, value in enumerate(values):
            height = _height(value, True)
            share = 0.0 if height is None else (height - low) / (high - low)
            sign = "0" if value == 0 else "×" if height is None else ""
            x, y = left + j * CELL, i * CELL
            cells.append(
                f'<rect class="cell" x="{x:.0f}" y="{y:.0f}" width="{CELL:.0f}" '
                f'height="{CELL:.0f}" '
                f'fill-opacity="{0.04 + 0.96 * share:.2f}"><title>{escape(name)}, {x_label} '
                f"{columns[j] if columns else j}: {_text(value)}</title></rect>"
            )
            if sign:
                cells.append(f'<text class="mark" x="{x + 8:.0f}" y="{y + 12:.0f}">{sign}</text>')
    width, height = left + n * CELL + 4, len(rows) * CELL + 24
    labels = list(columns) or [str(j) for j in range(n)]
    return _figure(
        title,
        f'<div class="wide"><svg class="chart" role="img" aria-label="{escape(title)}" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
        f"{''.join(cells)}<text class='axis' x='{left + n * CELL / 2:.0f}' y='{height - 6:.0f}'>"
        f"{escape(x_label)}</text></svg></div>"
        f"<p class='legend'>Darker is larger: from {10**low:.1e} to {10**high:.1e}.</p>",
        table(["", *labels], [[k, *map(_text, v)] for k, v in rows.items()], title),
    )


def bars(values: Mapping[str, float], title: str, unit: str) -> str:
    """A bar for each value, largest scale 1."""
    most = max(values.values(), default=0.0) or 1.0
    rows = "".join(
        f'<div class="bar"><span>{escape(name)}</span><span class="track"><span style="width:'
        f'{100 * value / most:.1f}%"></span></span><span>{_text(value)} {escape(unit)}</span></div>'
        for name, value in values.items()
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><div class="bars">{rows}</div></figure>'
    )


def _height(value: Number, logarithmic: bool) -> float | None:
    if value is None or not math.isfinite(value) or (logarithmic and value <= 0):
        return None
    return math.log10(value) if logarithmic else value


def _range(heights: Sequence[float]) -> tuple[float, float]:
    low, high = min(heights), max(heights)
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """About five round numbers; in short ranges of logarithms those of 1, 2, 5, 10, ..."""
    if logarithmic and high - low < 3:
        powers = range(math.floor(low), math.ceil(high) + 1)
        rounds = [k + math.log10(m) for k in powers for m in (1, 2, 5)]
        return [t for t in rounds if low <= t <= high]
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _axis(value: float, y: float, logarithmic: bool) -> str:
    text = f"{10**value:.3g}" if logarithmic else f"{value:.3g}"
    return (
        f'<path class="grid" d="M{LEFT:.0f} {y:.1f}H{WIDTH - 10:.0f}"/>'
        f'<text class="axis end" x="{LEFT - 6:.0f}" y="{y + 4:.1f}">{text}</text>'
    )


def _text(value: Number) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}"


def _figure(title: str, drawing: str, numbers: str) -> str:
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{drawing}"
        f"<details><summary>The numbers</summary>{numbers}</details></figure>"
    )
