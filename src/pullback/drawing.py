"""The one place that knows matplotlib: a figure to draw on."""

from __future__ import annotations

from typing import Any

__all__ = ["new_figure"]


def new_figure(width: float = 9.0, height: float = 4.0) -> Any:
    """An empty ``matplotlib.figure.Figure`` of so many inches.

    >>> from pullback.drawing import new_figure
    >>> new_figure(3, 2).get_size_inches().tolist()
    [3.0, 2.0]
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
