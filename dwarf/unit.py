"""What the other debug sections need to know of a unit, and which lists belong to which unit.

A location list or a range list can't be read alone: its offsets are relative to the base address
of the unit that refers to it, its indices belong to that unit's table in .debug_addr, and in DWARF
2 to 4 it has no header that gives the size of an address (DWARF 5, sections 2.6.2, 2.17.3, 3.1.1).
`dwarf.survey` reads every unit once and tells here what it found; `dwarf.loclists` and
`dwarf.rnglists` take it from there.
"""

from __future__ import annotations

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record
from nopfix.dwarf.section import Target

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Relocations, Section


ListKind = Literal["locations", "ranges"]
"""Of which kind a list is: where a value is found, or which code something covers."""


class File(Record):
    """The debug sections of one file, an object or a .dwo, by section number.

    ``split`` is true for a .dwo: nothing in there is relocated, and the section names end in .dwo.
    ``by_name`` has them without that ending; several sections may have one name.
    """

    sections: Mapping[int, Section]
    split: bool
    by_name: Mapping[str, Sequence[Section]]

    def named(self, *names: str) -> list[Section]:
        """The sections with one of ``names``, which are given without .dwo."""
        return [section for name in names for section in self.by_name.get(name, ())]

    def resolve(self, section: Section, place: int, value: int, *names: str) -> Target:
        """What the section offset in the field at ``place`` of ``section`` points to.

        Where it isn't relocated, ``value`` is an offset into the file's one section among
        ``names``.  Raises `Unsupported` where there is no such section or more than one.
        """
        target = section.relocations.target(place)
        if target is not None:
            return target
        found = self.named(*names)
        if len(found) != 1:
            raise Unsupported(
                section.name,
                place,
                f"an offset without relocation, and {len(found)} sections {' or '.join(names)}",
            )
        return Target(found[0].number, value)


def file_of(sections: Iterable[Section], *, split: bool = False) -> File:
    """The file with these debug sections; ``split`` when it is a .dwo."""
    by_number = {}
    by_name: dict[str, list[Section]] = {}
    for section in sections:
        by_number[section.number] = section
        name = section.name.removesuffix(".dwo") if split else section.name
        by_name.setdefault(name, []).append(section)
    return File(by_number, split, by_name)


class AddressTable(Record):
    """One unit's table in .debug_addr: what DW_FORM_addrx, DW_LLE_startx and the like index.

    ``section`` is the number of that .debug_addr, ``end`` where the table ends, ``base`` the
    section offset of entry 0, ``address_size`` the bytes of an entry, ``header`` those in front of
    ``base``.

    An entry can lie on one side of an insertion only.  One that something starts at is on the
    ``start`` side: who reads an index of a start says so in its result, and only those that nobody
    named may be on another side (`dwarf.sides`).
    """

    section: int
    end: int
    base: int
    address_size: int
    relocations: Relocations
    header: int = 0

    def place(self, index: int) -> int:
        """Section offset of entry ``index``; -1 when it lies outside the section."""
        place = self.base + index * self.address_size
        return place if place + self.address_size <= self.end else -1

    def entry(self, index: int) -> Target:
        """Where entry ``index`` is."""
        return Target(self.section, self.place(index))

    def target(self, index: int) -> Target | None:
        """What entry ``index`` points to; None where it isn't relocated."""
        return self.relocations.target(self.place(index))


class Unit(Record):
    """One unit of .debug_info or .debug_types.

    ``section`` and ``offset`` say where its header is; ``version`` is that of DWARF;
    ``offset_size`` is 4 or 8 (32- or 64-bit DWARF), ``address_size`` in bytes.  ``base`` is the
    base address, DW_AT_low_pc of the unit's own entry: None when it has none or isn't relocated
    (then offsets in its lists are absolute).  ``addresses`` is its table in .debug_addr, for a
    split unit the skeleton's; None without one.
    """

    section: int
    offset: int
    version: int
    offset_size: int
    address_size: int
    base: Target | None
    addresses: AddressTable | None


NO_VIEWS = (1 << 64) - 1
"""In place of the offset of view numbers; no section is as long."""


class ListUses(Record):
    """The lists of one section that one unit refers to.

    ``section`` is the number of the list section; ``offsets`` are section offsets of lists, in the
    order of the references, repeats included; indices (DW_FORM_loclistx) are looked up already.
    ``views`` are as many section offsets, those of the pairs of view numbers (DW_AT_GNU_locviews),
    or `NO_VIEWS`.  ``table`` is where the unit says that its lists begin (DW_AT_loclists_base or
    DW_AT_rnglists_base: the offset table behind the header; DW_AT_GNU_ranges_base), or None.  A
    skeleton has a ``table`` and no offsets: its lists are named by the split unit, and all that lie
    from there on are the unit's.
    """

    unit: Unit
    kind: ListKind
    section: int
    offsets: array[int]
    views: array[int]
    table: int | None


class MovedEntries(Record):
    """Where debugging entries are now, for those who name one by its offset from its unit.

    ``maps`` are those of the file's own sections of entries that moved, by number.  An index in an
    object names the skeleton but means entries of the split unit: ``split`` has, by the skeleton's
    header, the map of the split unit's section and the offset of the split unit's header there.
    """

    maps: Mapping[int, OffsetMap]
    split: Mapping[Target, tuple[OffsetMap, int]]

    def moved(self, unit: Target, offset: int) -> int:
        """The new value of ``offset``, which counts from the header at ``unit``."""
        entries, header = self.split.get(unit) or (self.maps.get(unit.section), unit.offset)
        return entries.start(header + offset) - entries.start(header) if entries else offset


if TYPE_CHECKING:
    MoveExpression = Callable[[memoryview | bytes, int, int, Unit], bytes | None]
    """``(data, start, end, unit)``: the expression in ``data[start:end]`` with its references to
    debugging entries moved; None when nothing in it changes.  Relocated operands are left alone.
    List sections get None in place of the function when no entry moved at all, which is the usual
    case."""
