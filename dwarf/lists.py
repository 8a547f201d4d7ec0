"""What location lists and range lists have in common: pairs of addresses relative to a base.

The problem: a list says where something holds as starts and ends, and the assembler has resolved
most of them to plain numbers, relative to a base address that lies elsewhere: in the unit's own
entry, in an earlier entry of the list, or in .debug_addr.  No relocation marks such a number.  Two
encodings exist, and both sections exist in both:

* DWARF 5 (`dwarf.list_entries`): a byte says what an entry is; numbers are ULEB128 and may grow.
  Tables of lists stand behind a header, with an optional table of offsets.
* DWARF 2 to 4 (`dwarf.address_pairs`): two addresses an entry, 0,0 at the end, -1 in front of a new
  base.  No header; where one list ends and the next begins follows from the references alone.

Three steps: find which lists there are, and whose (`reach`); move each of them (`walk_table`, with
what a `Walk` knows of one encoding); write (`dwarf.section.splice`).

The rules: a base and a start move on the ``start`` side, an end on the ``after`` side, and what was
empty stays empty.  A new number is the distance of the two new addresses.  GCC writes the end of a
value that a call clobbers as ``label-1``; nothing is inserted inside an instruction, so that one
needs no rule.  GCC puts a location list's view numbers in front of the list, unmarked
(DW_AT_GNU_locviews names them); they don't depend on addresses and stay as they are.

Every byte between the headers has to belong to a list, to its view numbers, or to a list that
nobody refers to, which is moved like its neighbours; anything else is refused.

Source: DWARF 5, sections 2.6.2, 2.17.3, 7.7.3, 7.25, 7.28, 7.29; DWARF 4, sections 2.6.2, 2.17.3.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from struct import Struct

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.leb128 import unsigned
from nopfix.dwarf.offset_map import IDENTITY, OffsetMap
from nopfix.dwarf.record import TYPE_CHECKING, Record, make
from nopfix.dwarf.section import Change, Rewritten, Target, discarded, splice
from nopfix.dwarf.unit import NO_VIEWS

if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping, Sequence

    from nopfix.dwarf.offset_map import Side
    from nopfix.dwarf.section import Section
    from nopfix.dwarf.unit import ListUses, MoveExpression, Unit

MALFORMED = (
    "the debug information is malformed: build the object again, or use --strip-unknown-debug"
)
UNKNOWN = "use --strip-unknown-debug to drop the section, or build without -g"

NOT_RELOCATED = "an address without relocation"

ADDRESS_SIZE = 8
NO_LIMIT = 1 << 64
_U2 = Struct("<H")


class Kinds(Record):
    """The kinds of entries of one DWARF 5 section.

    ``family`` is DW_LLE or DW_RLE; ``meanings`` are the DW_LLE_* that mean the same, by kind;
    ``located`` says that entries carry an expression (location lists).
    """

    family: str
    meanings: Mapping[int, int]
    located: bool


class Moved(Record):
    """What became of a section of lists: None where it stays as it is.

    ``starts`` are the entries of .debug_addr that something in the lists starts at.
    """

    rewritten: Rewritten | None
    starts: frozenset[Target]


class Base(Record):
    """A base address, prepared for the loops below.

    ``offset`` and ``new`` are the base in its section before and after; ``code`` is that section's
    map.  Offsets from the base below ``limit`` don't move against it.  ``padded`` are
    the old offsets where an end and a start at the same place part.
    """

    offset: int
    new: int
    limit: int
    code: OffsetMap
    padded: frozenset[int]


class Reach(Record):
    """The lists to move: where each begins (sorted), whose each is, where its view numbers are
    (or `NO_VIEWS`).

    ``tables`` are the sorted offsets from where on the lists are those of a unit, ``owners`` says
    of which unit.
    """

    offsets: Sequence[int]
    units: Sequence[Unit]
    views: Sequence[int]
    tables: Sequence[int]
    owners: Mapping[int, Unit]


def base_at(target: tuple[int, int] | None, maps: Mapping[int, OffsetMap]) -> Base | None:
    """Prepare the base address ``target``, a section and an offset into it.

    None for an address that isn't relocated.
    """
    if target is None:
        return None
    section, offset = target
    code = maps.get(section)
    if code is None or not code.places:
        return Base(offset, offset, NO_LIMIT, IDENTITY, frozenset())
    places = code.places
    index = bisect_right(places, offset)
    limit = places[index] - offset if index < len(places) else NO_LIMIT
    return make(Base, (offset, offset + code.shifts[index], limit, code, code.padded))


def moved_pair(base: Base, start: int, end: int) -> tuple[int, int]:
    """The offsets ``start`` and ``end`` from ``base``, moved."""
    code = base.code
    new_start = code.start(base.offset + start) - base.new
    if start == end:
        return new_start, new_start
    return new_start, code.after(base.offset + end) - base.new


def moved_length(target: Target, length: int, maps: Mapping[int, OffsetMap]) -> int:
    """The new length of what begins at ``target`` and was ``length`` bytes long."""
    code = maps.get(target.section)
    if not length or code is None:
        return length
    return code.after(target.offset + length) - code.start(target.offset)


def reach(name: str, uses: Sequence[ListUses]) -> Reach:
    """Collect the lists of ``uses``, each once.

    Raises `Unsupported` when units with different bases share a list, or when a list has two sets
    of view numbers.
    """
    owners: dict[int, Unit] = {}
    for use in uses:
        unit = use.unit
        if unit.address_size != ADDRESS_SIZE:
            raise Unsupported(name, None, f"addresses of {unit.address_size} bytes", UNKNOWN)
        if use.table is not None:
            other = owners.setdefault(use.table, unit)
            if not _same_base(other, unit):
                raise Unsupported(name, use.table, "a table shared by two units", UNKNOWN)
    offsets, units, views = _each_once(name, uses)
    return Reach(offsets, units, views, sorted(owners), owners)


def _each_once(
    name: str, uses: Sequence[ListUses]
) -> tuple[Sequence[int], Sequence[Unit], Sequence[int]]:
    """Each list's offset, sorted; its unit, and the offset of its view numbers."""
    if len(uses) == 1 and _ascend(uses[0].offsets):
        # As in most objects: dictionaries would take a tenth of the memory that they need.
        unit, _, _, offsets, view_offsets, _ = uses[0]
        return offsets, [unit] * len(offsets), view_offsets
    units: dict[int, Unit] = {}
    views: dict[int, int] = {}
    for use in uses:
        unit = use.unit
        for offset, view in zip(use.offsets, use.views, strict=True):
            other = units.setdefault(offset, unit)
            if other is not unit and not _same_base(other, unit):
                raise Unsupported(name, offset, "a list shared by two units", UNKNOWN)
            if view != NO_VIEWS and views.setdefault(offset, view) != view:
                raise Unsupported(name, offset, "a list with two sets of view numbers", UNKNOWN)
    found = sorted(units)
    return found, [units[at] for at in found], [views.get(at, NO_VIEWS) for at in found]


def _ascend(numbers: array[int]) -> bool:
    return all(map(int.__lt__, numbers, numbers[1:]))


def _same_base(one: Unit, other: Unit) -> bool:
    return one.base == other.base and one.addresses == other.addresses


class Walk:
    """What the walk over one section reads, and what it has found so far.

    One subclass for each encoding says how a single list is read.
    """

    __slots__ = (
        "_bases",
        "_unit",
        "_unit_base",
        "changes",
        "data",
        "maps",
        "move_expression",
        "name",
        "relocated",
        "relocations",
        "replaced",
        "sides",
        "starts",
    )

    def __init__(
        self,
        section: Section,
        data: bytes,
        maps: Mapping[int, OffsetMap],
        move_expression: MoveExpression | None,
    ) -> None:
        """Start with nothing found; ``data`` are the bytes of ``section``."""
        self.name = section.name
        self.data = data
        self.relocations = section.relocations
        places = section.relocations.places
        self.relocated = dict(zip(places, range(len(places)), strict=True))
        self.maps = maps
        self.move_expression = move_expression
        self.changes: list[Change] = []
        # Most entries move and few change their size: those that don't are kept apart, as plain
        # pairs of place and bytes.  As `Change` they made a rewrite of .debug_loc a fifth slower.
        self.replaced: list[tuple[int, bytes]] = []
        self.sides: dict[int, Side] = {}
        self.starts: set[Target] = set()
        self._bases: dict[tuple[int, int] | None, Base | None] = {}
        self._unit: Unit | None = None
        self._unit_base: Base | None = None

    def prepared(self, target: tuple[int, int] | None) -> Base | None:
        """The base address ``target``, prepared once: the same few are selected again and again."""
        if target not in self._bases:
            self._bases[target] = base_at(target, self.maps)
        return self._bases[target]

    def base_of(self, unit: Unit) -> Base | None:
        """The base address of ``unit``; one list after the other asks for that of the same."""
        if unit is not self._unit:
            self._unit, self._unit_base = unit, self.prepared(unit.base)
        return self._unit_base

    def base_in(self, place: int) -> Base | None:
        """`prepared` for the `address` at ``place``.

        In a unit of several code sections every list has one (3,400 in an object of a kernel's
        scheduler): written out, and without a `Target` each.
        """
        index = self.relocated.get(place)
        if index is None:
            return self.prepared(self.address(place))
        relocations = self.relocations
        symbol = relocations.symbols[index]
        value = relocations.symbol_values[symbol] + relocations.addends[index]
        return self.prepared((relocations.symbol_sections[symbol], value))

    def move_list(self, position: int, unit: Unit, stop: int) -> int:
        """Move the list at ``position``; returns the offset behind its end.

        The next list begins at ``stop``.  GCC 12 leaves out the end of some range lists, so that a
        reader goes on with the next one; then this is where the walk ends, too.
        """
        raise NotImplementedError

    def move_unreferenced(self, position: int, unit: Unit, stop: int) -> int:
        """Move what nobody refers to at ``position``, which is taken for a list of ``unit``.

        Returns the offset behind it.
        """
        return self.move_list(position, unit, stop)

    def check_run_on(self, base: Base | None, unit: Unit, stop: int) -> int:
        """``stop``, where a list runs on into the next; that has to mean the same from there.

        It does where the next list begins by choosing its own base, or where both have the unit's.
        """
        if base != self.prepared(unit.base) and not self.chooses_base(stop):
            raise self.malformed(stop, "a list that runs on into the next, with another base")
        return stop

    def chooses_base(self, position: int) -> bool:
        """Whether the entry at ``position`` selects a base address."""
        raise NotImplementedError

    def malformed(self, offset: int, found: str) -> Unsupported:
        """The error for something that no writer means."""
        return Unsupported(self.name, offset, found, MALFORMED)

    def unknown(self, offset: int, found: str) -> Unsupported:
        """The error for something that may be meant, but can't be moved."""
        return Unsupported(self.name, offset, found, UNKNOWN)

    def address(self, place: int) -> Target:
        """What the address at ``place`` points to; that may be discarded code (`discarded`).

        Raises `Unsupported` for any other address without relocation.
        """
        index = self.relocated.get(place)
        if index is not None:
            return self.relocations.at(index)
        target = discarded(self.data, place)
        if target is None:
            raise self.unknown(place, NOT_RELOCATED)
        return target

    def indexed(self, offset: int, unit: Unit, index: int) -> tuple[Target, Target]:
        """Entry ``index`` of the unit's address table: where it is, and what it points to."""
        table = unit.addresses
        if table is not None:
            place = table.place(index)
            target = table.relocations.target(place)
            if place >= 0:  # without a relocation: discarded code
                return Target(table.section, place), target or Target(0, 0)
        raise self.malformed(offset, f"index {index} into .debug_addr names no address")

    def indexed_base(self, position: int, unit: Unit) -> tuple[Base | None, int]:
        """The base address that the index at ``position`` selects, and the offset behind it."""
        index, after = unsigned(self.data, position)
        entry, target = self.indexed(position, unit, index)
        self.starts.add(entry)
        return self.prepared(target), after

    def end_moves_apart(self, start: Target, end: Target) -> bool:
        """True when ``end``, a relocated end of what begins at ``start``, moves unlike a start."""
        code = self.maps.get(end.section)
        return code is not None and end.offset in code.padded and start != end

    def move_indexed_pair(self, position: int, unit: Unit) -> int:
        """Check a start and an end that are both indices; returns the offset behind them.

        Nothing is to be written here, but the end's entry has to be one that moves as an end.
        """
        first, after = unsigned(self.data, position)
        second, after = unsigned(self.data, after)
        entry, start = self.indexed(position, unit, first)
        end_entry, end = self.indexed(position, unit, second)
        self.starts.update((entry, end_entry))
        if self.end_moves_apart(start, end):
            raise self.unknown(position, f"entry {second} of .debug_addr as an end and as a start")
        return after

    def move_located(self, position: int, unit: Unit) -> int:
        """Move the expression at ``position``, behind its two bytes of length (DWARF 2 to 4).

        Returns the offset behind it.
        """
        begun = position + 2
        after = begun + int.from_bytes(self.data[position:begun], "little")
        moved = self.expression(begun, after, unit)
        if moved is not None:
            new = _U2.pack(len(moved)) + moved
            self.changes.append(Change(position, after, new))
        return after

    def expression(self, start: int, end: int, unit: Unit) -> bytes | None:
        """The expression in ``data[start:end]`` moved; None when it stays as it is."""
        if end > len(self.data):
            raise self.malformed(start, "an expression that runs past the section")
        return self.move_expression(self.data, start, end, unit) if self.move_expression else None


def walk_table(walk: Walk, lists: Reach, start: int, first: int, end: int) -> None:
    """Move every list of the table at ``start``, and account for each byte.

    The lists lie between section offsets ``first`` and ``end``.
    """
    offsets, views = lists.offsets, lists.views
    lowest = index = bisect_left(offsets, first)
    count = bisect_left(offsets, end)
    position = first
    while position < end:
        following, view = (offsets[index], views[index]) if index < count else (end, NO_VIEWS)
        if position < following and view == position:
            # Pairs of ULEB128 up to here, unchanged: the last byte has to be a last byte.
            if walk.data[following - 1] > 127:
                raise walk.malformed(position, "view numbers that run into their list")
            position = following
        elif position == following and view != NO_VIEWS:
            raise walk.malformed(following, "view numbers that aren't in front of their list")
        move = walk.move_list
        if position == following:
            unit = lists.units[index]
            index += 1
            following = offsets[index] if index < count else end
        elif position > following:
            raise walk.malformed(following, "a list that begins inside another one")
        else:
            around = lists.units[max(index - 1, lowest) : min(index + 1, count)]
            owner = _owner(lists, start, position, around)
            if owner is None:
                raise walk.unknown(position, "bytes that no unit refers to")
            unit = owner
            move = walk.move_unreferenced
        position = move(position, unit, following if index < count else -1)
    if position > end:
        raise walk.malformed(position, "a list that runs past its table")


def _owner(lists: Reach, start: int, position: int, around: Sequence[Unit]) -> Unit | None:
    """The unit of a list that nobody refers to (compilers leave some behind).

    It is that of the lists before and behind it and that of the table that it lies in; None where
    those disagree on what the list would be relative to, or where there are none.
    """
    units = [*around]
    index = bisect_right(lists.tables, position)
    if index and lists.tables[index - 1] >= start:
        units.append(lists.owners[lists.tables[index - 1]])
    if not all(_same_base(units[0], unit) for unit in units[1:]):
        return None
    return units[0] if units else None


def walk_whole(walk: Walk, lists: Reach) -> Moved:
    """Move the lists of a section without headers."""
    for offset in lists.offsets[-1:]:
        if offset >= len(walk.data):
            raise walk.malformed(offset, "a reference to a list outside the section")
    walk_table(walk, lists, 0, 0, len(walk.data))
    new = None
    if walk.changes or walk.replaced or walk.sides:
        kept = bytearray(walk.data)
        for place, data in walk.replaced:
            kept[place : place + len(data)] = data
        new = Rewritten(*splice(kept, walk.changes), walk.sides)
    return Moved(new, frozenset(walk.starts))
