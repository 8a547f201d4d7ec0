"""What this package is given of an object, and what it gives back.

A debug section is bytes plus relocations.  Of a relocation only three things matter here: where it
lies, which section it points into and at which offset.  The types, the symbols and the ELF file
stay with the caller, who moves the relocations themselves afterwards: places by the map of the
section they lie in, addends by the map of the section they point into, on the side that
`Rewritten.sides` names (``start`` unless it says otherwise).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dwarf.offset_map import OffsetMap, Side


class Target(NamedTuple):
    """What a relocated field holds: an offset in bytes into a section.

    ``section`` is that section's number, 0 or less where the symbol is undefined or absolute.
    """

    section: int
    offset: int


class Relocations:
    """The relocations of one section, sorted by place, as columns.

    ``places`` are section offsets in ascending order; ``symbols`` and ``addends`` go with them.
    ``symbol_sections`` and ``symbol_values`` are indexed by symbol.  Targets are computed when
    asked for: an object has tens of thousands of relocations and most are never looked at.
    """

    __slots__ = ("addends", "places", "symbol_sections", "symbol_values", "symbols")

    def __init__(
        self,
        places: Sequence[int] = (),
        symbols: Sequence[int] = (),
        addends: Sequence[int] = (),
        symbol_sections: Sequence[int] = (),
        symbol_values: Sequence[int] = (),
    ) -> None:
        """Keep the columns as they are; nothing is copied."""
        self.places = places
        self.symbols = symbols
        self.addends = addends
        self.symbol_sections = symbol_sections
        self.symbol_values = symbol_values

    def at(self, index: int) -> Target:
        """The target of the relocation at ``places[index]``."""
        symbol = self.symbols[index]
        return Target(
            self.symbol_sections[symbol], self.symbol_values[symbol] + self.addends[index]
        )

    def target(self, place: int) -> Target | None:
        """The target of the field at section offset ``place``, None where it isn't relocated."""
        places = self.places
        index = bisect_left(places, place)
        if index < len(places) and places[index] == place:
            return self.at(index)
        return None


class Section(NamedTuple):
    """One section to rewrite: its number in the object, name, bytes (decompressed), relocations."""

    number: int
    name: str
    data: bytes | memoryview
    relocations: Relocations


class CopiedRelocation(NamedTuple):
    """A new relocation: like the one at old offset ``place``, but it lies at ``new_place`` of the
    new section and its target moves on ``side``.
    """

    place: int
    new_place: int
    side: Side


class Rewritten(NamedTuple):
    """A rewritten section.

    ``data`` are the new bytes; ``map`` moves offsets into this section; ``sides`` names, by old
    place, the relocations whose target isn't moved on the ``start`` side; ``copies`` are
    relocations that the old section didn't have.
    """

    data: bytes | bytearray | memoryview
    map: OffsetMap
    sides: Mapping[int, Side]
    copies: Sequence[CopiedRelocation] = ()


class Change(NamedTuple):
    """The bytes from ``place`` to ``end`` of an old section become ``data``."""

    place: int
    end: int
    data: bytes


def apply(section: Section, changes: Iterable[Change]) -> bytes | bytearray:
    """The bytes of ``section`` with ``changes``, which don't overlap, in any order."""
    ordered = sorted(changes)
    if all(len(new) == end - place for place, end, new in ordered):
        data = bytearray(section.data)
        for place, end, new in ordered:
            data[place:end] = new
        return data
    pieces: list[bytes | memoryview] = []
    old = memoryview(section.data)
    done = 0
    for place, end, new in ordered:
        pieces += (old[done:place], new)
        done = end
    pieces.append(old[done:])
    return b"".join(pieces)
