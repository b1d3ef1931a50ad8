"""Work that makes many objects, nearly all of which stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected(stays: bool = False) -> Iterator[None]:
    """Pause the garbage collector, which would look at them again and again: a tenth of the time.

    If all of it ``stays``, it is old at once, so that the next collections need not look at it.
    If other threads do the like, the first that is done lets the collector run again.
    """
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if stays and not gc.get_freeze_count():  # else the user has frozen what would thaw
            gc.freeze()
            gc.unfreeze()  # all of it into the oldest generation
        if is_enabled:
            gc.enable()
