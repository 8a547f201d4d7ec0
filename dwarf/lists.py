"""What location lists and range lists have in common: pairs of addresses relative to a base.

The problem: a list says where something holds as starts and ends, and the assembler has resolved
most of them to plain numbers, relative to a base address that lies elsewhere: in the unit's own
entry, in an earlier entry of the list, or in .debug_addr.  No relocation marks such a number.  Two
encodings exist, and both sections exist in both:

* DWARF 5 (`Kinds`, `rewrite_kinds`): a byte says what an entry is; numbers are ULEB128 and may
  grow.  Tables of lists stand behind a header, with an optional table of offsets.
* DWARF 2 to 4 (`rewrite_pairs`): two addresses an entry, 0,0 at the end, -1 in front of a new base.
  No header; where one list ends and the next begins follows from the references alone.

The rules: a base and a start move on the ``start`` side, an end on the ``after`` side, and what was
empty stays empty.  A new number is the distance of the two new addresses.  GCC writes the end of a
value that a call clobbers as ``label-1``; nothing is inserted inside an instruction, so that one
needs no rule.  GCC puts a location list's view numbers in front of the list, unmarked
(DW_AT_GNU_locviews names them); they don't depend on addresses and stay as they are.

LLVM's DWARF 4 may begin a location list with an entry that is empty: 0,0, which ends the list for
every reader, and is followed by the entry's expression and the list's other entries.  Nobody reads
those, but they are moved as the assembler would (`_PairWalk.move_unreferenced`).

Every byte between the headers has to belong to a list, to its view numbers, or to a list that
nobody refers to, which is moved like its neighbours; anything else is refused.

Source: DWARF 5, sections 2.6.2, 2.17.3, 7.7.3, 7.25, 7.28, 7.29; DWARF 4, sections 2.6.2, 2.17.3.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from dwarf import expression
from dwarf.errors import Unsupported
from dwarf.leb128 import BadLeb128, encode_unsigned, unsigned
from dwarf.offset_map import IDENTITY, OffsetMap, resize
from dwarf.section import Rewritten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dwarf.offset_map import Edit, Side
    from dwarf.section import Section, Target
    from dwarf.unit import ListUses, MoveExpression, Unit

MALFORMED = (
    "the debug information is malformed: build the object again, or use --strip-unknown-debug"
)
UNKNOWN = "use --strip-unknown-debug to drop the section, or build without -g"

END_OF_LIST = 0
BASE_ADDRESSX = 1
STARTX_ENDX = 2
STARTX_LENGTH = 3
OFFSET_PAIR = 4
DEFAULT_LOCATION = 5
BASE_ADDRESS = 6
START_END = 7
START_LENGTH = 8
VIEW_PAIR = 9

_ADDRESS_SIZE = 8
_NO_LIMIT = 1 << 64
_HIGHEST = 1 << 63
_PAIR = Struct("<QQ")
_U2 = Struct("<H")


class Kinds(NamedTuple):
    """The entry kinds of one section.

    Element k of ``meanings`` is what kind k means, one of the constants above; ``located`` says
    that entries carry an expression (location lists).
    """

    meanings: Sequence[int]
    located: bool


Change = tuple[int, int, bytes]
"""``(start, end, data)``: the bytes ``start`` to ``end`` of the old section become ``data``."""


class Contribution(NamedTuple):
    """One table of lists in a DWARF 5 section: all fields but two are section offsets in bytes.

    The header is at ``start``, ``entries`` offsets of ``offset_size`` bytes each are at ``table``,
    the lists lie from ``lists`` to ``end``.
    """

    start: int
    end: int
    offset_size: int
    table: int
    entries: int
    lists: int


class Base(NamedTuple):
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


class Reach(NamedTuple):
    """The lists to move: where each begins (sorted), whose it is, where its view numbers are.

    ``tables`` are the sorted offsets from where on the lists are those of a unit, ``owners`` says
    of which unit.
    """

    offsets: Sequence[int]
    units: Mapping[int, Unit]
    views: Mapping[int, int]
    tables: Sequence[int]
    owners: Mapping[int, Unit]


def base_at(target: Target | None, maps: Mapping[int, OffsetMap]) -> Base | None:
    """Prepare the base address ``target``; None for an address that isn't relocated."""
    if target is None:
        return None
    offset = target.offset
    code = maps.get(target.section)
    if code is None or not code.places:
        return Base(offset, offset, _NO_LIMIT, IDENTITY, frozenset())
    places = code.places
    index = bisect_right(places, offset)
    limit = places[index] - offset if index < len(places) else _NO_LIMIT
    return Base(offset, offset + code.shifts[index], limit, code, code.padded)


def moved_pair(base: Base, start: int, end: int) -> tuple[int, int]:
    """The offsets ``start`` and ``end`` from ``base``, moved."""
    code = base.code
    new_start = code.start(base.offset + start) - base.new
    if start == end:
        return new_start, new_start
    return new_start, code.after(base.offset + end) - base.new


def moved_length(target: Target, new_start: int, length: int, maps: Mapping[int, OffsetMap]) -> int:
    """The new length of what began at ``target`` and was ``length`` bytes long.

    ``new_start`` is where it begins now, an offset into the same section.
    """
    code = maps.get(target.section)
    if not length or code is None:
        return length
    return code.after(target.offset + length) - new_start


def reach(name: str, uses: Sequence[ListUses]) -> Reach:
    """Collect the lists of ``uses``, each once.

    Raises `Unsupported` when units with different bases share a list, or when a list has two sets
    of view numbers.
    """
    units: dict[int, Unit] = {}
    views: dict[int, int] = {}
    owners: dict[int, Unit] = {}
    for use in uses:
        unit = use.unit
        if unit.address_size != _ADDRESS_SIZE:
            raise Unsupported(name, None, f"addresses of {unit.address_size} bytes", UNKNOWN)
        if not units:
            units = dict.fromkeys(use.offsets, unit)
        else:
            for offset in use.offsets:
                other = units.setdefault(offset, unit)
                if other is not unit and not _same_base(other, unit):
                    raise Unsupported(name, offset, "a list shared by two units", UNKNOWN)
        for offset, view in use.views.items():
            if views.setdefault(offset, view) != view:
                raise Unsupported(name, offset, "a list with two sets of view numbers", UNKNOWN)
        if use.table is not None:
            other = owners.setdefault(use.table, unit)
            if not _same_base(other, unit):
                raise Unsupported(name, use.table, "a table shared by two units", UNKNOWN)
    return Reach(sorted(units), units, views, sorted(owners), owners)


def _same_base(one: Unit, other: Unit) -> bool:
    return one.base == other.base and one.addresses == other.addresses


def splice(kept: bytearray, changes: Sequence[Change]) -> tuple[bytearray, OffsetMap]:
    """Apply ``changes``, which are sorted and disjoint: the new bytes and the map that follows.

    ``kept`` are the old bytes, some of them replaced already; they may be used up.
    """
    resized = []
    for change in changes:
        start, end, new = change
        if len(new) == end - start:
            kept[start:end] = new
        else:
            resized.append(change)
    if not resized:
        return kept, IDENTITY
    result = bytearray()
    edits: list[Edit] = []
    copied = 0
    for start, end, new in resized:
        result += kept[copied:start]
        result += new
        copied = end
        edits.append(resize(end, len(new) - (end - start)))
    result += kept[copied:]
    return result, OffsetMap(edits)


class _Encodings(dict[int, bytes]):
    """The ULEB128 of each number asked for; the same few thousand come again and again."""

    def __missing__(self, value: int) -> bytes:
        encoded = encode_unsigned(value)
        self[value] = encoded
        return encoded


# -- DWARF 5 --------------------------------------------------------------------------------------


def contributions(name: str, data: bytes) -> list[Contribution]:
    """Read the headers of a DWARF 5 list section (section 7.28, 7.29).

    Raises `Unsupported` for a header that is truncated, of another version, or for addresses that
    aren't 8 bytes.
    """
    found = []
    start = 0
    while start < len(data):
        offset_size, field = 4, start
        if data[start : start + 4] == b"\xff\xff\xff\xff":
            offset_size, field = 8, start + 4
        body = field + offset_size
        if body + 8 > len(data):
            raise Unsupported(name, start, "a truncated header", MALFORMED)
        end = body + int.from_bytes(data[field:body], "little")
        version = int.from_bytes(data[body : body + 2], "little")
        if version != 5:
            raise Unsupported(name, start, f"version {version} of a list table", UNKNOWN)
        if data[body + 2] != _ADDRESS_SIZE or data[body + 3]:
            sizes = f"addresses of {data[body + 2]} bytes, segments of {data[body + 3]}"
            raise Unsupported(name, body + 2, sizes, UNKNOWN)
        count = int.from_bytes(data[body + 4 : body + 8], "little")
        table = body + 8
        lists = table + count * offset_size
        if not lists <= end <= len(data):
            raise Unsupported(name, start, "a header that reaches past its table", MALFORMED)
        found.append(Contribution(start, end, offset_size, table, count, lists))
        start = end
    return found


def rewrite_kinds(
    section: Section,
    kinds: Kinds,
    uses: Sequence[ListUses],
    maps: Mapping[int, OffsetMap],
    move_expression: MoveExpression | None = None,
) -> Rewritten | None:
    """Rewrite a DWARF 5 list section; None when nothing in it changes.

    Raises `Unsupported` for anything malformed, and for bytes that belong to no list.
    """
    name = section.name
    data = bytes(section.data)
    tables = contributions(name, data)
    lists = reach(name, uses)
    walk = _KindWalk(section, data, kinds, maps, move_expression)
    for table in tables:
        _walk_table(walk, lists, table.start, table.lists, table.end)
    first = tables[0].lists if tables else len(data)
    for offset in lists.offsets:
        if not first <= offset < len(data):
            raise Unsupported(name, offset, "a reference to a list outside the section", MALFORMED)
    if not walk.changes and not walk.sides and walk.kept == data:
        return None
    result, own = splice(walk.kept, walk.changes)
    if own:
        for table in tables:
            _move_header(name, result, data, table, own)
    return Rewritten(result, own, walk.sides)


def _move_header(
    name: str, result: bytearray, data: bytes, table: Contribution, own: OffsetMap
) -> None:
    """Write the header's length and its offset table, which counts from the table's own start."""
    size = table.offset_size
    field = own.start(table.start) + size - 4  # 64-bit DWARF: ff ff ff ff in front
    length = own.start(table.end) - (field + size)
    result[field : field + size] = length.to_bytes(size, "little")
    new_table = own.start(table.table)
    for index in range(table.entries):
        place = index * size
        old = int.from_bytes(data[table.table + place : table.table + place + size], "little")
        if old > table.end - table.table:
            raise Unsupported(name, table.table + place, "an offset out of its table", MALFORMED)
        new = own.start(table.table + old) - new_table
        result[new_table + place : new_table + place + size] = new.to_bytes(size, "little")


class Walk:
    """What the walk over one section reads, and what it has found so far.

    One subclass for each encoding says how a single list is read.
    """

    __slots__ = (
        "_bases",
        "changes",
        "data",
        "maps",
        "move_expression",
        "name",
        "relocated",
        "relocations",
        "sides",
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
        self.sides: dict[int, Side] = {}
        self._bases: dict[Target | None, Base | None] = {}

    def prepared(self, target: Target | None) -> Base | None:
        """The base address ``target``, prepared once: the same few are selected again and again."""
        if target not in self._bases:
            self._bases[target] = base_at(target, self.maps)
        return self._bases[target]

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
        """What the address at ``place`` points to.  Raises `Unsupported` without relocation."""
        index = self.relocated.get(place)
        if index is None:
            raise self.unknown(place, "an address without relocation")
        return self.relocations.at(index)

    def indexed(self, offset: int, unit: Unit, index: int) -> tuple[Target, int]:
        """What entry ``index`` of the unit's address table points to, and where that is now."""
        table = unit.addresses
        target = table.target(index) if table else None
        if table is None or target is None:
            raise self.malformed(offset, f"index {index} into .debug_addr names no address")
        return target, table.new_offset(index, target, self.maps)

    def indexed_base(self, position: int, unit: Unit) -> tuple[Base | None, int]:
        """The base address that the index at ``position`` selects, and the offset behind it."""
        index, after = unsigned(self.data, position)
        target, new = self.indexed(position, unit, index)
        base = base_at(target, self.maps)
        if base is not None and base.new != new:
            base = base._replace(new=new, limit=0)
        return base, after

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
        start, _ = self.indexed(position, unit, first)
        end, new_end = self.indexed(position, unit, second)
        code = self.maps.get(end.section)
        if code is not None and start != end and new_end != code.after(end.offset):
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
            self.changes.append((position, after, new))
        return after

    def expression(self, start: int, end: int, unit: Unit) -> bytes | None:
        """The expression in ``data[start:end]`` moved; None when it stays as it is."""
        if end > len(self.data):
            raise self.malformed(start, "an expression that runs past the section")
        return self.move_expression(self.data, start, end, unit) if self.move_expression else None


def _walk_table(walk: Walk, lists: Reach, start: int, first: int, end: int) -> None:
    """Move every list of the table at ``start``, and account for each byte.

    The lists lie between section offsets ``first`` and ``end``.
    """
    offsets = lists.offsets
    lowest = index = bisect_left(offsets, first)
    count = bisect_left(offsets, end)
    position = first
    while position < end:
        following = offsets[index] if index < count else end
        if position < following and lists.views.get(following) == position:
            # Pairs of ULEB128 up to here, unchanged: the last byte has to be a last byte.
            if walk.data[following - 1] > 127:
                raise walk.malformed(position, "view numbers that run into their list")
            position = following
        elif position == following and following in lists.views:
            raise walk.malformed(following, "view numbers that aren't in front of their list")
        move = walk.move_list
        if position == following:
            unit = lists.units[position]
            index += 1
            following = offsets[index] if index < count else end
        elif position > following:
            raise walk.malformed(following, "a list that begins inside another one")
        else:
            around = offsets[max(index - 1, lowest) : min(index + 1, count)]
            owner = _owner(lists, start, position, around)
            if owner is None:
                raise walk.unknown(position, "bytes that no unit refers to")
            unit = owner
            move = walk.move_unreferenced
        position = move(position, unit, following if index < count else -1)
    if position > end:
        raise walk.malformed(position, "a list that runs past its table")


def _owner(lists: Reach, start: int, position: int, around: Sequence[int]) -> Unit | None:
    """The unit of a list that nobody refers to (compilers leave some behind).

    It is that of the lists before and behind it and that of the table that it lies in; None where
    those disagree on what the list would be relative to, or where there are none.
    """
    units = [lists.units[offset] for offset in around]
    index = bisect_right(lists.tables, position)
    if index and lists.tables[index - 1] >= start:
        units.append(lists.owners[lists.tables[index - 1]])
    if not all(_same_base(units[0], unit) for unit in units[1:]):
        return None
    return units[0] if units else None


class _KindWalk(Walk):
    """The walk over DWARF 5 lists."""

    __slots__ = ("encodings", "kept", "kinds")

    def __init__(
        self,
        section: Section,
        data: bytes,
        kinds: Kinds,
        maps: Mapping[int, OffsetMap],
        move_expression: MoveExpression | None,
    ) -> None:
        super().__init__(section, data, maps, move_expression)
        self.kinds = kinds
        self.encodings = _Encodings()
        # Where most entries move, a note of each takes three times the room of the whole object:
        # what keeps its size is put in place at once.
        self.kept = bytearray(data)

    def move_list(self, position: int, unit: Unit, stop: int) -> int:
        """Move the list at ``position``; see `Walk.move_list`."""
        try:
            return self._move_list(position, unit, stop)
        except (IndexError, BadLeb128):
            raise self.malformed(position, "a list without an end") from None

    def _move_list(self, position: int, unit: Unit, stop: int) -> int:
        data = self.data
        encodings = self.encodings
        changes, kept = self.changes, self.kept
        located = self.kinds.located
        meanings = self.kinds.meanings
        base = self.prepared(unit.base)
        limit = base.limit if base else -1
        while position != stop:
            kind = data[position]
            position += 1
            if kind == OFFSET_PAIR:
                # The only kind that is frequent.  Nearly all numbers have one or two bytes.
                begun = position
                start = data[position]
                if start < 128:
                    position += 1
                elif data[position + 1] < 128:
                    start += (data[position + 1] << 7) - 128
                    position += 2
                else:
                    start, position = unsigned(data, position)
                end = data[position]
                if end < 128:
                    position += 1
                elif data[position + 1] < 128:
                    end += (data[position + 1] << 7) - 128
                    position += 2
                else:
                    end, position = unsigned(data, position)
                if end >= limit:
                    if base is None or end < start:
                        raise self._bad_pair(begun, base)
                    code = base.code
                    places = code.places
                    shifts = code.shifts
                    # moved_pair(), written out: a call and two look-ups less for each entry.
                    old = base.offset + start
                    new_start = old + shifts[bisect_right(places, old)] - base.new
                    if start == end:
                        new_end = new_start
                    else:
                        old = base.offset + end
                        if old in base.padded:
                            new_end = code.after(old) - base.new
                        else:
                            new_end = old + shifts[bisect_right(places, old)] - base.new
                    if new_start != start or new_end != end:
                        new = encodings[new_start] + encodings[new_end]
                        if len(new) == position - begun:
                            kept[begun:position] = new
                        else:
                            changes.append((begun, position, new))
                elif end < start:
                    raise self._bad_pair(begun, base)
            else:
                meaning = meanings[kind] if kind < len(meanings) else -1
                if meaning == END_OF_LIST:
                    return position
                if meaning in (BASE_ADDRESS, BASE_ADDRESSX):
                    base, position = self._new_base(meaning, position, unit)
                    limit = base.limit if base else -1
                    continue
                if meaning == VIEW_PAIR:
                    _, position = unsigned(data, position)
                    _, position = unsigned(data, position)
                    continue
                position = self._move_other(meaning, position, unit)
            if located:
                length = data[position]
                if length < 128:
                    begun = position + 1
                else:
                    length, begun = unsigned(data, position)
                if self.move_expression is not None:
                    moved = self.expression(begun, begun + length, unit)
                    if moved is not None:
                        new = encode_unsigned(len(moved)) + moved
                        changes.append((position, begun + length, new))
                position = begun + length
        return self.check_run_on(base, unit, stop)

    def chooses_base(self, position: int) -> bool:
        """Whether the entry at ``position`` selects a base address."""
        kind = self.data[position] if position < len(self.data) else END_OF_LIST
        meanings = self.kinds.meanings
        return kind < len(meanings) and meanings[kind] in (BASE_ADDRESS, BASE_ADDRESSX)

    def _bad_pair(self, offset: int, base: Base | None) -> Unsupported:
        if base is None:
            return self.unknown(offset, "offsets without a base address")
        return self.malformed(offset, "an end in front of its start")

    def _new_base(self, meaning: int, position: int, unit: Unit) -> tuple[Base | None, int]:
        """The base that an entry selects, and the offset behind the entry."""
        if meaning == BASE_ADDRESS:
            return self.prepared(self.address(position)), position + _ADDRESS_SIZE
        return self.indexed_base(position, unit)

    def _move_other(self, meaning: int, position: int, unit: Unit) -> int:
        """Move the addresses of one of the rarer kinds; returns the offset behind them."""
        if meaning == DEFAULT_LOCATION:
            return position
        if meaning == STARTX_ENDX:
            return self.move_indexed_pair(position, unit)
        if meaning == START_END:
            start, end = self.address(position), self.address(position + _ADDRESS_SIZE)
            if self.end_moves_apart(start, end):
                self.sides[position + _ADDRESS_SIZE] = "after"
            return position + 2 * _ADDRESS_SIZE
        if meaning == STARTX_LENGTH:
            index, begun = unsigned(self.data, position)
            target, new_start = self.indexed(position, unit, index)
        elif meaning == START_LENGTH:
            target = self.address(position)
            code = self.maps.get(target.section, IDENTITY)
            begun, new_start = position + _ADDRESS_SIZE, code.start(target.offset)
        else:
            raise self.unknown(position - 1, f"a list entry of kind {self.data[position - 1]}")
        length, after = unsigned(self.data, begun)
        new = moved_length(target, new_start, length, self.maps)
        if new != length:
            self.changes.append((begun, after, encode_unsigned(new)))
        return after


# -- DWARF 2 to 4 ---------------------------------------------------------------------------------


def rewrite_pairs(
    section: Section,
    located: bool,
    uses: Sequence[ListUses],
    maps: Mapping[int, OffsetMap],
    move_expression: MoveExpression | None = None,
) -> Rewritten | None:
    """Rewrite a list section of DWARF 2 to 4; None when nothing in it changes.

    ``located`` says that entries carry an expression (.debug_loc).  Raises `Unsupported` for
    anything malformed, and for bytes that belong to no list.
    """
    data = bytes(section.data)
    lists = reach(section.name, uses)
    walk = _PairWalk(section, data, located, maps, move_expression)
    return walk_whole(walk, lists)


def walk_whole(walk: Walk, lists: Reach) -> Rewritten | None:
    """Move the lists of a section without headers."""
    for offset in lists.offsets[-1:]:
        if offset >= len(walk.data):
            raise walk.malformed(offset, "a reference to a list outside the section")
    _walk_table(walk, lists, 0, 0, len(walk.data))
    if not walk.changes and not walk.sides:
        return None
    result, own = splice(bytearray(walk.data), walk.changes)
    return Rewritten(result, own, walk.sides)


class _PairWalk(Walk):
    """The walk over lists of address pairs."""

    __slots__ = ("located",)

    def __init__(
        self,
        section: Section,
        data: bytes,
        located: bool,
        maps: Mapping[int, OffsetMap],
        move_expression: MoveExpression | None,
    ) -> None:
        super().__init__(section, data, maps, move_expression)
        self.located = located

    def move_list(self, position: int, unit: Unit, stop: int) -> int:
        """Move the list at ``position``; see `Walk.move_list`."""
        data = self.data
        relocated = self.relocated
        unpack = _PAIR.unpack_from
        located = self.located
        # Where an end moves as a start does, a relocated entry needs nothing.
        apart = any(code.padded for code in self.maps.values())
        base = self.prepared(unit.base)
        limit = len(data) - 2 * _ADDRESS_SIZE
        while position <= limit and position != stop:
            start, end = unpack(data, position)
            if position in relocated:
                if position + _ADDRESS_SIZE not in relocated:
                    raise self.malformed(position, "a relocated start with an end that isn't")
                if apart:
                    self._side_of_end(position)
            elif not start | end and position + _ADDRESS_SIZE not in relocated:
                return position + 2 * _ADDRESS_SIZE
            elif start == _NO_LIMIT - 1:
                base = self.prepared(self._base_target(position + _ADDRESS_SIZE, end))
                position += 2 * _ADDRESS_SIZE
                continue
            else:
                self._move_pair(position, start, end, base)
            position += 2 * _ADDRESS_SIZE
            if located:
                position = self.move_located(position, unit)
        if position == stop:
            return self.check_run_on(base, unit, stop)
        raise self.malformed(position, "a list without an end")

    def move_unreferenced(self, position: int, unit: Unit, stop: int) -> int:
        """Move a list that nobody refers to, or what an empty entry has cut off from its list.

        That begins with the empty entry's expression.  Refused where it reads in both ways.  What
        reads in neither, because it would run into the next list, may be that list's view numbers,
        where GCC dropped the attribute that named both.
        """
        before = self.changes, self.sides
        readings: list[tuple[int, list[Change], dict[int, Side]]] = []
        errors = []
        for read in (self.move_list, self._move_cut_off) if self.located else (self.move_list,):
            self.changes, self.sides = [], {}
            try:
                end = read(position, unit, stop)
            except Unsupported as error:
                errors.append(error)
                continue
            field = self._next_address(end - _ADDRESS_SIZE + 1)
            if end > stop >= 0 or field < end:
                errors.append(self.malformed(end, "a list that ends inside another one"))
            else:
                readings.append((end, self.changes, self.sides))
        self.changes, self.sides = before
        if not readings:
            following = self._next_address(position)
            following = min(following, stop) if stop >= 0 else following
            if self.located and self._are_views(position, following):
                return following
            raise errors[0]
        if any(reading != readings[0] for reading in readings[1:]):
            raise self.unknown(position, "bytes that no unit refers to, and that read in two ways")
        end, changes, sides = readings[0]
        self.changes += changes
        self.sides |= sides
        return end

    def _next_address(self, position: int) -> int:
        """Where the first relocated address at or behind ``position`` is; the end without one."""
        places = self.relocations.places
        index = bisect_left(places, position)
        return places[index] if index < len(places) else len(self.data)

    def _are_views(self, position: int, following: int) -> bool:
        """Whether from ``position`` there is a pair of ULEB128 for each entry of the list behind.

        They don't move.  That list begins at ``following``.
        """
        numbers = sum(byte < 128 for byte in self.data[position:following])
        entries = self._entries(following)
        return 0 < numbers == 2 * entries and self.data[following - 1] < 128

    def _entries(self, position: int) -> int:
        """The number of entries with an expression in the list at ``position``."""
        count = 0
        while position + 2 * _ADDRESS_SIZE + 2 <= len(self.data):
            start, end = _PAIR.unpack_from(self.data, position)
            relocated = position in self.relocated or position + _ADDRESS_SIZE in self.relocated
            position += 2 * _ADDRESS_SIZE
            if not start | end and not relocated:
                break
            if start != _NO_LIMIT - 1 or relocated:
                count += 1
                position += 2 + int.from_bytes(self.data[position : position + 2], "little")
        return count

    def _move_cut_off(self, position: int, unit: Unit, stop: int) -> int:
        """Move the rest of a list whose entry in front of ``position`` was empty."""
        if self.data[position - 2 * _ADDRESS_SIZE : position] != bytes(2 * _ADDRESS_SIZE):
            raise self.malformed(position, "an expression without an entry in front of it")
        behind = self.move_located(position, unit)
        # Only what makes sense as an expression is one: this raises where it doesn't.
        expression.move(
            self.data, position + 2, behind, unit, IDENTITY, self.relocations, self.name
        )
        return self.move_list(behind, unit, stop)

    def chooses_base(self, position: int) -> bool:
        """Whether the entry at ``position`` selects a base address."""
        begins = self.data[position : position + _ADDRESS_SIZE]
        return int.from_bytes(begins, "little") == _NO_LIMIT - 1

    def _side_of_end(self, position: int) -> None:
        place = position + _ADDRESS_SIZE
        if self.end_moves_apart(self.address(position), self.address(place)):
            self.sides[place] = "after"

    def _base_target(self, place: int, value: int) -> Target | None:
        """A base address selection: a relocated address, or 0 where the base is to be gone."""
        if place not in self.relocated and value == 0:
            return None
        return self.address(place)

    def _move_pair(self, position: int, start: int, end: int, base: Base | None) -> None:
        if position + _ADDRESS_SIZE in self.relocated:
            raise self.malformed(position, "a relocated end with a start that isn't")
        if base is None:
            raise self.unknown(position, "offsets without a base address")
        if not start <= end < _HIGHEST:
            raise self.malformed(position, "an end in front of its start, or without one")
        if end >= base.limit:
            new = _PAIR.pack(*moved_pair(base, start, end))
            self.changes.append((position, position + 2 * _ADDRESS_SIZE, new))
