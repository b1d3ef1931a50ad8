"""Free pieces of memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from heapq import heappop, heappush

__all__ = ["Gaps"]

NO_END = 1 << 62


class Gaps:
    """Free memory between 0, or another start, and ``stop`` bytes; gaps that meet are one.

    ``hold`` says until when a piece is taken, and ``release`` that this time has come.
    """

    def __init__(self, start: int = 0, stop: int = NO_END) -> None:
        self.starts = [start]
        self.stops = {start: stop}  # by start
        self.sizes = [(stop - start, start)]  # the smallest first
        self.held: list[tuple[int, int, int]] = []  # until when, start, stop; a heap

    def room(self, size: int) -> int | None:
        """The start of the smallest gap of so many bytes, or ``None``."""
        i = bisect_left(self.sizes, (size,))
        return self.sizes[i][1] if i < len(self.sizes) else None

    def hold(self, start: int, size: int, last: int) -> None:
        """Take a piece of a gap until the step after ``last``."""
        gap = self.starts[bisect_right(self.starts, start) - 1]
        end = self.stops[gap]
        self._remove(gap)
        if gap < start:
            self._add(gap, start)
        if start + size < end:
            self._add(start + size, end)
        heappush(self.held, (last, start, start + size))

    def release(self, step: int) -> None:
        """Give back what is held until a step before this one."""
        while self.held and self.held[0][0] < step:
            _, start, stop = heappop(self.held)
            if stop in self.stops:
                end = self.stops[stop]
                self._remove(stop)
                stop = end
            i = bisect_left(self.starts, start)
            before = self.starts[i - 1] if i else None
            if before is not None and self.stops[before] == start:
                self._remove(before)
                start = before
            self._add(start, stop)

    def _add(self, start: int, stop: int) -> None:
        insort(self.starts, start)
        insort(self.sizes, (stop - start, start))
        self.stops[start] = stop

    def _remove(self, start: int) -> None:
        del self.starts[bisect_left(self.starts, start)]
        del self.sizes[bisect_left(self.sizes, (self.stops.pop(start) - start, start))]
