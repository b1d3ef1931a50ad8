"""The names that the user's frames give to values while a function runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from pullback.core.source import is_own

__all__ = ["names_in_use", "user_frames"]


def user_frames(root: FrameType) -> Iterator[FrameType]:
    """Frames of the user's code between the caller and ``root``, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not root:
        if not is_own(frame.f_code):
            yield frame
        frame = frame.f_back


def names_in_use(root: FrameType) -> Iterator[tuple[str, Any]]:
    """Pairs (name, value) of the user's frames inside ``root``, the outermost frame first."""
    for frame in reversed(list(user_frames(root))):
        known = {name: frame.f_globals.get(name) for name in frame.f_code.co_names}
        for name, value in (known | frame.f_locals).items():
            if name.isidentifier():
                yield name, value
