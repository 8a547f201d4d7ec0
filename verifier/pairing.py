"""Where each offset of a section of IN is in OUT.

An offset with a slot or padding in front of it is at several places at once; the question says
which one is meant:

- `ret`: right behind the previous instruction: the return address;
- `end`: behind the inserted slot, before any padding: ends of functions and ranges;
- `start`: where the next thing begins: branch targets, functions, line rows;
- `word`: the instruction itself, which differs from `start` only for a prefixed instruction with
  a nop before it that keeps it from crossing a 64-byte boundary.
"""

from __future__ import annotations

import bisect
import functools
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

START, END, RET = "start", "end", "ret"
"""The sides of an insertion that a place can be meant on, named as the methods of Pairing."""

Side = Callable[[int], int | None]
"""A look-up: offset in IN to offset in OUT, None where that has no counterpart."""


class Seam(NamedTuple):
    """A place of IN where OUT has more or less than IN. Offsets in bytes.

    What lies behind it, up to the next seam, moved as its word did; `word` is None where what lies
    behind has no counterpart (padding that changed size).
    """

    old: int
    ret: int | None
    end: int | None
    start: int | None
    word: int | None


class Pairing:
    """Where each offset of a section of code is in OUT."""

    def __init__(
        self,
        size: int,
        new_size: int,
        seams: list[Seam],
        data_words: frozenset[int] = frozenset(),
    ) -> None:
        """`seams` in order, the first one at 0; `data_words`: indices of no instructions."""
        self.size = size
        self.new_size = new_size
        self.seams = seams
        self.data_words = data_words
        self.loose: list[range] = []
        """Offsets of OUT from which only no-ops of padding lead to one place, by run of them."""
        self._places = [seam.old for seam in seams]
        # The same places are asked for by tables of all kinds, again and again.
        self.sides: dict[str, Side] = {
            START: functools.cache(self.start),
            END: functools.cache(self.end),
            RET: functools.cache(self.ret),
        }
        """The look-ups by their names."""

    def is_inside_instruction(self, offset: int) -> bool:
        """Whether an offset is no instruction's, nor in data."""
        return bool(offset % 4) and offset // 4 not in self.data_words

    def meet(self, one: int | None, other: int) -> bool:
        """Whether two places of OUT are the same, or lead to the same through padding alone."""
        return one == other or any(one in run and other in run for run in self.loose)

    def _behind(self, offset: int) -> tuple[Seam, int]:
        seam = self.seams[bisect.bisect_right(self._places, offset) - 1]
        return seam, offset - seam.old

    def start(self, offset: int) -> int | None:
        """Where what begins at `offset` begins in OUT; None when it has no counterpart."""
        if not 0 <= offset <= self.size:
            return None
        seam, rest = self._behind(offset)
        if not rest:
            return seam.start
        return None if seam.word is None else seam.word + rest

    def end(self, offset: int) -> int | None:
        """Where the range that ends at `offset` ends in OUT."""
        if not 0 <= offset <= self.size:
            return None
        seam, rest = self._behind(offset)
        if not rest:
            return seam.end
        return None if seam.word is None else seam.word + rest

    def ret(self, offset: int) -> int | None:
        """Where the call that returns to `offset` returns to in OUT."""
        if not 0 <= offset <= self.size:
            return None
        seam, rest = self._behind(offset)
        if not rest:
            return seam.ret
        return None if seam.word is None else seam.word + rest

    def word(self, offset: int) -> int | None:
        """Where the byte at `offset` is in OUT: the place of a relocation."""
        if not 0 <= offset <= self.size:
            return None
        seam, rest = self._behind(offset)
        return None if seam.word is None else seam.word + rest


def unmoved(size: int) -> Pairing:
    """The pairing of a section of that many bytes that is as it was."""
    return Pairing(size, size, [Seam(0, 0, 0, 0, 0)])


class Starts(Mapping[int, int]):
    """Where the parts of a section begin in IN and in OUT, noted in their order.

    What a dict would say, in a seventh of the memory: there are as many as entries of .debug_info.
    """

    def __init__(self) -> None:
        """Nothing noted yet."""
        self._old = array("Q")
        self._new = array("Q")

    def add(self, old: int, new: int) -> None:
        """Note a part, which lies behind all that are noted."""
        self._old.append(old)
        self._new.append(new)

    def extend(self, old: list[int], shift: int) -> None:
        """Note parts that begin `shift` bytes further on in OUT."""
        self._old.extend(old)
        self._new.extend([start + shift for start in old] if shift else old)

    def between(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts from `start` up to `end` of IN: where each begins in IN and in OUT."""
        first, last = (bisect.bisect_left(self._old, offset) for offset in (start, end))
        return [*zip(self._old[first:last], self._new[first:last], strict=True)]

    def __getitem__(self, old: int) -> int:
        """Where the part at an offset of IN begins in OUT.  Raises KeyError."""
        position = bisect.bisect_left(self._old, old)
        if position == len(self._old) or self._old[position] != old:
            raise KeyError(old)
        return self._new[position]

    def __iter__(self) -> Iterator[int]:
        """Where the parts begin in IN."""
        return iter(self._old)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._old)


class Known:
    """The pairing of a section of tables: only the starts of its parts have a counterpart."""

    def __init__(self, size: int, new_size: int, starts: Mapping[int, int]) -> None:
        """`starts` maps offsets of IN to offsets of OUT; 0 is one, if to nothing else then to 0."""
        self.size = size
        self.new_size = new_size
        self.starts = starts
        self.sides: dict[str, Side] = dict.fromkeys((START, END, RET), self.start)
        """The look-ups by their names."""

    def start(self, offset: int) -> int | None:
        """Where the part that begins at `offset` begins in OUT."""
        return self.starts.get(offset, None if offset else 0)

    end = ret = word = start


AnyPairing = Pairing | Known
