"""What this package is given of an object, and what it gives back.

A debug section is bytes plus relocations.  Of a relocation only three things matter here: where it
lies, which section it points into and at which offset.  The types, the symbols and the ELF file
stay with the caller, who moves the relocations themselves afterwards: places by the map of the
section they lie in, addends by the map of the section they point into, on the side that
`Rewritten.sides` names (``start`` unless it says otherwise).
"""

from __future__ import annotations

from bisect import bisect_left

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import IDENTITY, OffsetMap, padding, resize
from nopfix.dwarf.record import TYPE_CHECKING, Record, make

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nopfix.dwarf.offset_map import Side


class Target(Record):
    """What a relocated field holds: an offset in bytes into a section.

    ``section`` is that section's number, 0 or less where the symbol is undefined or absolute.
    """

    section: int
    offset: int


_DISCARDED = frozenset((0, 1, (1 << 64) - 1, (1 << 64) - 2))


def discarded(data: bytes | memoryview, place: int) -> Target | None:
    """The target of an address without relocation at ``place`` of ``data``; None if it has to be
    relocated.

    A linker that discards code (``ld -r`` of two objects with the same function of a group,
    --gc-sections) leaves the debug information that speaks of it, with 0 or 1 (binutils,
    bfd/reloc.c, _bfd_clear_contents), -1 or -2 (lld, ELF/InputSection.cpp, getTombstone) for an
    address.  Nothing there moves, nor what counts from there: such a target is in section 0.
    """
    value = int.from_bytes(data[place : place + 8], "little")
    return Target(0, value) if value in _DISCARDED else None


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
        value = self.symbol_values[symbol] + self.addends[index]
        return make(Target, (self.symbol_sections[symbol], value))

    def target(self, place: int) -> Target | None:
        """The target of the field at section offset ``place``, None where it isn't relocated."""
        places = self.places
        index = bisect_left(places, place)
        if index < len(places) and places[index] == place:
            return self.at(index)
        return None

    def indices(self, column: Iterable[int]) -> Iterator[int | None]:
        """The index among ``places`` of each place of a column; None for one that has none.

        A column mostly ascends, so what is looked for is near to what was found last.  A dictionary
        of all places took a third of the memory that an object with debug information needs.
        """
        places = self.places
        low, behind, last = 0, len(places), -1
        for place in column:
            if place < last:
                low = 0
            last, near = place, low + 32
            high = near if near < behind and places[near] >= place else behind
            low = bisect_left(places, place, low, high)
            yield low if low < behind and places[low] == place else None


class Section(Record):
    """One section to rewrite: its number in the object, name, bytes (decompressed), relocations."""

    number: int
    name: str
    data: bytes | memoryview
    relocations: Relocations


def require_relocations(section: Section, place: int) -> None:
    """Raise `Unsupported` where none of ``section``, which names code at ``place``, is relocated.

    A linker leaves one address or another without relocation (`discarded`), and those beside it
    with theirs.
    """
    if not section.relocations.places:
        found = "addresses of code without any relocation"
        remedy = f"rewrite the object before they are removed, or do: objcopy -R {section.name}"
        raise Unsupported(section.name, place, found, remedy)


class CopiedRelocation(Record):
    """A new relocation: like the one at old offset ``place``, but it lies at ``new_place`` of the
    new section and its target moves on ``side``.
    """

    place: int
    new_place: int
    side: Side


class Rewritten(Record):
    """A rewritten section.

    ``data`` are the new bytes; ``map`` moves offsets into this section; ``sides`` names, by old
    place, the relocations whose target isn't moved on the ``start`` side; ``copies`` are
    relocations that the old section didn't have.
    """

    data: bytes | bytearray | memoryview
    map: OffsetMap
    sides: Mapping[int, Side]
    copies: Sequence[CopiedRelocation] = ()


class Change(Record):
    """The bytes from ``place`` to ``end`` of an old section become ``data``.

    ``fills`` says that they are padding, which aligns what begins at ``end``: what ends there stays
    in front of padding that is new (`dwarf.offset_map`).
    """

    place: int
    end: int
    data: bytes
    fills: bool = False


def map_of(changes: Iterable[Change]) -> OffsetMap:
    """The map that follows from ``changes``, in any order."""
    return OffsetMap(
        (padding if fills else resize)(end, len(new) - (end - place))
        for place, end, new, fills in changes
        if len(new) != end - place
    )


def splice(
    data: bytes | bytearray | memoryview, changes: Iterable[Change]
) -> tuple[bytearray, OffsetMap]:
    """The old bytes ``data`` with ``changes``, and the map that follows.

    The changes don't overlap and come in any order.  A bytearray is used up: what keeps its size is
    put in place there.
    """
    ordered = sorted(changes)
    kept = data if isinstance(data, bytearray) else bytearray(data)
    resized = []
    for change in ordered:
        place, end, new, _ = change
        if len(new) == end - place:
            kept[place:end] = new
        else:
            resized.append(change)
    if not resized:
        return kept, IDENTITY
    result = bytearray()
    copied = 0
    for place, end, new, _ in resized:
        result += kept[copied:place]
        result += new
        copied = end
    result += kept[copied:]
    return result, map_of(resized)
