"""Which of a section's objects is a place in?

They may lie in each other, or have the same place. Beside each, in order of where they begin,
stands how far it or one in front of it reaches: a place that lies behind that is in none of them.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Extents:
    """Parts of a section, as ranges of offsets."""

    def __init__(self, parts: Iterable[range]) -> None:
        """In any order."""
        self._parts = sorted(parts, key=operator.attrgetter("start"))
        self._starts = [part.start for part in self._parts]
        self._furthest = list(itertools.accumulate((part.stop for part in self._parts), max))

    def around(self, place: int) -> list[range]:
        """Those that a place is in, in the order in which they begin."""
        at = bisect.bisect_right(self._starts, place)
        found = []
        while at and self._furthest[at - 1] > place:
            at -= 1
            if place in self._parts[at]:
                found.append(self._parts[at])
        return found[::-1]

    def __contains__(self, place: int) -> bool:
        """Whether one of them has a place."""
        at = bisect.bisect_right(self._starts, place)
        return at > 0 and place < self._furthest[at - 1]


NOWHERE = Extents(())
