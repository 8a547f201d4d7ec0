"""`.debug_addr`: the addresses that units name by index.

Every entry is relocated, so its bytes never change; what has to be decided is on which side of an
insertion an entry moves, and that is known to those who name it (`dwarf.sides`).  A table grows
where a call site shared its entry with something that starts there: new entries go to its end.

Source: DWARF 5, section 7.27; the GNU form of DWARF 4 has no header.
"""

from __future__ import annotations

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.numbers import changed, initial_length, number
from nopfix.dwarf.offset_map import IDENTITY
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Change, CopiedRelocation, Rewritten, splice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nopfix.dwarf.forms import Sizes
    from nopfix.dwarf.offset_map import OffsetMap, Side
    from nopfix.dwarf.section import Section

_ENTRY = 8


class Extent(Record):
    """Where a table ends, and the bytes of the header in front of its entry 0 (0 without one)."""

    end: int
    header: int


class Copy(Record):
    """A new entry of .debug_addr: like that at ``place``, but on ``side``.

    It goes to ``end``, that of the table whose entry 0 is at ``base``, behind ``header`` bytes.
    """

    base: int
    end: int
    header: int
    place: int
    side: Side


Copies = dict[int, "dict[Copy, int]"]
"""By section number of .debug_addr: new entries and their indices, in the order they were made."""


def extent(section: Section, base: int, sizes: Sizes) -> Extent:
    """The extent of the table in ``section`` whose entry 0 is at ``base``.

    The table of a unit of DWARF 5 has a header with a length.  The GNU form of DWARF 4 has none:
    the table ends with the section here, which `divide` corrects where there are several.

    Raises `Unsupported` for a header that doesn't fit.
    """
    if sizes.version < 5:
        return Extent(len(section.data), 0)
    header = 8 if sizes.offset_size == 4 else 16
    if base < header:
        raise Unsupported(section.name, base, "a table of addresses without its header")
    end, offset_size, place = initial_length(section.data, base - header, section.name)
    shape = (offset_size, place, bytes(section.data[place:base]))
    if shape != (sizes.offset_size, base - 4, bytes((5, 0, sizes.address_size, 0))):
        raise Unsupported(section.name, base - header, "a header of addresses that isn't known")
    return Extent(end, header)


def divide(base: int, end: int, bases: Iterable[int]) -> int:
    """Where the table at ``base`` ends, without header, in a section with tables at ``bases``."""
    return min((other for other in bases if other > base), default=end)


def rewrite(
    section: Section,
    sides: Mapping[int, Side],
    copies: Sequence[Copy],
    maps: Mapping[int, OffsetMap],
) -> Rewritten | None:
    """Say on which side the entries of ``section`` move, and add new ones.

    ``sides`` holds those that aren't on the ``start`` side, by section offset; ``copies`` are the
    new ones; ``maps`` are those of code sections, by section number.  Returns None when nothing
    changes.  Raises `Unsupported` when ``sides`` names a place that is no relocated address.
    """
    different: dict[int, Side] = {}
    for place, side in sides.items():
        target = section.relocations.target(place)
        if target is None:
            found = "an entry that a unit names isn't a relocated address"
            raise Unsupported(section.name, place, found, "build the object again")
        code = maps.get(target.section)
        if code is not None and code.move(target.offset, side) != code.start(target.offset):
            different[place] = side
    if copies:
        return _grow(section, different, copies)
    return Rewritten(section.data, IDENTITY, different) if different else None


def _grow(section: Section, sides: Mapping[int, Side], copies: Sequence[Copy]) -> Rewritten:
    """Put the entries ``copies`` to the ends of their tables, in their order."""
    changes: list[Change] = []
    new: dict[int, list[Copy]] = {}
    for copy in copies:
        new.setdefault(copy.end, []).append(copy)
    for end, added in new.items():
        size = _ENTRY * len(added)
        changes.append(Change(end, end, bytes(size)))
        header = added[0].header
        if header:
            width = 4 if header == 8 else 8
            place = added[0].base - 4 - width
            length = number(section.data, place, width) + size
            changes.append(changed(section.name, place, place + width, length, "length"))
    data, own = splice(section.data, changes)
    relocations = [
        # The map puts what ends at an offset behind the new bytes; these begin in front of them.
        CopiedRelocation(copy.place, own.start(end) - _ENTRY * (len(added) - index), copy.side)
        for end, added in sorted(new.items())
        for index, copy in enumerate(added)
    ]
    return Rewritten(data, own, sides, relocations)
