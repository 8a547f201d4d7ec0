"""Line number information: ``.debug_line``, versions 2 to 5.

A unit is a header and a program that prints rows (address, file, line, ...).  A sequence of rows
begins with DW_LNE_set_address, which is relocated; from there on the program adds up distances that
the assembler has turned into numbers, until DW_LNE_end_sequence.  When the code moves, nearly all
distances stay: only the first row behind an inserted byte changes.  So:

* the address of a row is on the ``start`` side, that of an end of sequence on the ``after`` side,
  and so are rows at that very place: nothing begins there.  The same holds for rows in front of a
  DW_LNE_set_address to where they are: what begins there has the rows behind it, and gas has put
  those in front where the function before it ends (a .loc with a view, behind a last call);
* a row whose distance changes is encoded anew as the assembler does: DW_LNS_advance_line where the
  line doesn't fit into a special opcode, then a special opcode, with DW_LNS_const_add_pc in front,
  or DW_LNS_advance_pc (`_encode`).  What belongs to the row is its opcode and the line and address
  advances directly in front of it; everything else keeps its bytes, the header included;
* a compiler that doesn't leave the table to the assembler writes advances itself, and something
  else in front of the row (a discriminator, a column), or DW_LNS_copy where the assembler would
  have a special opcode.  Such an advance is changed in place, and so are the two bytes of
  DW_LNS_fixed_advance_pc.

The numbers of location views aren't in the program: they count the rows at one address, and rows
that were at one address still are.

Three steps: find the rows whose distance may change (`find`), move them (`moved`), write them anew
(`_written`).  Only the first looks at all opcodes, and at those of a sequence only if an edit of
the code lies behind its start.

Sources: DWARF 5, section 6.2, and the same section of DWARF 2 to 4; binutils, gas/dwarf2dbg.c
(`emit_inc_line_addr`), and LLVM, MCDwarf.cpp (`MCDwarfLineAddr::encode`), which agree but for the
end of a sequence.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf import leb128
from nopfix.dwarf.encodings import (
    DW_LNE_end_sequence,
    DW_LNE_set_address,
    DW_LNS_advance_line,
    DW_LNS_advance_pc,
    DW_LNS_const_add_pc,
    DW_LNS_copy,
    DW_LNS_extended_op,
    DW_LNS_fixed_advance_pc,
    DW_LNS_negate_stmt,
    DW_LNS_set_column,
    DW_LNS_set_file,
)
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.numbers import changed, initial_length, number
from nopfix.dwarf.offset_map import IDENTITY
from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record
from nopfix.dwarf.section import Change, Rewritten, Section, splice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nopfix.dwarf.offset_map import OffsetMap, Side
    from nopfix.dwarf.section import Relocations

_OPERAND_COUNTS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
"""Of the standard opcodes from 1 on, how many LEB128 operands each has."""

_OPCODES_OF_DWARF_2 = 9
_SET_ADDRESS = bytes((DW_LNS_extended_op, 9, DW_LNE_set_address))

_DAMAGED = "the line table is damaged; compile the file again"
_UNKNOWN = "nopfix can't move it; compile the file without -g"
APART = "assemble without --gdwarf-sections"
"""What to do about a unit that gas has put into several sections, for a linker to drop some."""


class Extent(Record):
    """Where a unit lies: its start, what follows its length, its end; section offsets."""

    start: int
    behind_length: int
    end: int
    offset_size: int
    version: int


class Header(Record):
    """A unit's header, as far as its program needs it.

    ``program`` and ``end`` are section offsets.  ``advances`` says for each opcode by how many
    bytes it moves the address, operands aside.
    """

    program: int
    end: int
    unit_size: int
    line_base: int
    line_range: int
    opcode_base: int
    operand_counts: bytes
    advances: list[int]


class Row(Record):
    """A row, an advance in front of one or the end of a sequence, whose distance may change.

    It is made by the opcodes from ``place`` to ``end`` (offsets in the program), which advance by
    ``line`` lines and ``amount`` bytes of code, and is at old ``address``.  Of an advance these are
    the places of its operand.  ``ends`` says that the sequence ends there, so that nothing begins
    there.
    """

    kind: Literal["row", "advance", "fixed advance", "end"]
    place: int
    end: int
    line: int
    amount: int
    address: int
    ends: bool


class LineSequence(Record):
    """Rows of one sequence, or of the part of it behind one DW_LNE_set_address.

    The address is relocated at section offset ``place`` and leads to ``address`` in the section
    that ``code`` is the map of; ``empty`` says that the sequence ends there at once.
    """

    place: int
    code: OffsetMap
    address: int
    empty: bool
    rows: Sequence[Row]


def rewrite(section: Section, maps: Mapping[int, OffsetMap]) -> Rewritten:
    """Rewrite ``.debug_line`` for code that moved.

    ``maps`` are the maps of the sections that moved, by number.  Where nothing changes the result
    holds the given bytes and `IDENTITY`.  Raises `Unsupported`.
    """
    data = bytes(section.data)
    sides: dict[int, Side] = {}
    changes: list[Change] = []
    for extent in extents(section, data):
        if not _moves(section, extent, maps):
            continue
        header = read_header(section, data, extent)
        new: list[Change] = []
        for sequence in find(section, data, header, maps):
            if sequence.empty:
                sides[sequence.place] = "after"
            new += [_written(section, header, *move) for move in moved(sequence)]
        growth = sum(len(change.data) - (change.end - change.place) for change in new)
        if growth:
            behind = extent.behind_length
            length = extent.end - behind + growth
            place = behind - extent.offset_size
            changes.append(changed(section.name, place, behind, length, "length"))
        changes += new
    if not changes:
        return Rewritten(section.data, IDENTITY, sides)
    return Rewritten(*splice(data, changes), sides)


# -- the header -----------------------------------------------------------------------------------


def extents(section: Section, data: bytes) -> Iterator[Extent]:
    """The units of the section."""
    start = 0
    while start < len(data):
        if section.relocations.target(start) is not None:
            found = "a unit whose length is left to the linker"
            raise Unsupported(section.name, start, found, APART)
        end, offset_size, behind = initial_length(data, start, section.name)
        if end - behind < offset_size + 6:
            raise Unsupported(section.name, start, "a unit that ends too early", _DAMAGED)
        version = number(data, behind, 2)
        if not 2 <= version <= 5:
            raise Unsupported(section.name, start, f"a line table of version {version}", _UNKNOWN)
        yield Extent(start, behind, end, offset_size, version)
        start = end


def _moves(section: Section, extent: Extent, maps: Mapping[int, OffsetMap]) -> bool:
    """Say whether a relocation in a unit points into a section that moved."""
    relocations = section.relocations
    first = bisect_left(relocations.places, extent.start)
    behind = bisect_left(relocations.places, extent.end, first)
    return any(maps.get(relocations.at(index).section) for index in range(first, behind))


def read_header(section: Section, data: bytes, extent: Extent) -> Header:
    """Read a header (DWARF 5, 6.2.4); its length was checked to hold the fixed part."""
    start, end = extent.start, extent.end
    position = extent.behind_length + (4 if extent.version >= 5 else 2)
    program = position + extent.offset_size + number(data, position, extent.offset_size)
    position += extent.offset_size
    fields = data[position : min(program, end)]
    if program > end or len(fields) < 6:
        raise Unsupported(section.name, start, "a header that doesn't fit its unit", _DAMAGED)
    if extent.version >= 4:
        if fields[1] > 1:
            found = "several operations in an instruction"
            raise Unsupported(section.name, position + 1, found, _UNKNOWN)
        fields = fields[:1] + fields[2:]
    unit_size, _, line_base, line_range, opcode_base = fields[:5]
    counts = fields[5 : 4 + opcode_base]
    if len(counts) != opcode_base - 1 or not unit_size or not line_range:
        raise Unsupported(section.name, start, "a header that makes no sense", _DAMAGED)
    known = min(len(counts), len(_OPERAND_COUNTS))
    if known < _OPCODES_OF_DWARF_2 or counts[:known] != _OPERAND_COUNTS[:known]:
        raise Unsupported(section.name, start, "standard opcodes of another meaning", _UNKNOWN)
    advances = [0] * opcode_base
    advances += [
        (opcode - opcode_base) // line_range * unit_size for opcode in range(opcode_base, 256)
    ]
    advances[DW_LNS_const_add_pc] = advances[255]
    line_base -= (line_base & 0x80) << 1
    return Header(program, end, unit_size, line_base, line_range, opcode_base, counts, advances)


# -- find -----------------------------------------------------------------------------------------


def find(
    section: Section, data: bytes, header: Header, maps: Mapping[int, OffsetMap]
) -> Iterator[LineSequence]:
    """The sequences of a unit whose code moved, each with the rows whose distance may change."""
    program = data[header.program : header.end]
    relocations = section.relocations
    first = bisect_left(relocations.places, header.program)
    behind = bisect_left(relocations.places, header.end, first)
    for index in range(first, behind):
        place = relocations.places[index]
        begin = place - header.program - len(_SET_ADDRESS)
        if begin < 0 or program[begin : begin + len(_SET_ADDRESS)] != _SET_ADDRESS:
            raise Unsupported(section.name, place, "a relocation in a line program", _UNKNOWN)
        target = relocations.at(index)
        code = maps.get(target.section)
        if not code:
            continue
        address, begin = target.offset, begin + len(_SET_ADDRESS) + 8
        try:
            again = _set_again(section.relocations, behind, index)
            empty = address in code.padded and _ends_here(program, begin, header)
            rows = [] if empty else _rows(program, begin, header, code, address, again)
        except (IndexError, StopIteration, leb128.BadLeb128) as error:
            cut_off = "a line program that ends too early"
            raise Unsupported(section.name, place, cut_off, _DAMAGED) from error
        yield LineSequence(place, code, address, empty, rows)


def _set_again(relocations: Relocations, behind: int, index: int) -> int | None:
    """The address that the next DW_LNE_set_address sets, where that is in the section of this one.

    The relocations of the program are those up to ``behind``, this one's is at ``index``.
    """
    if index + 1 >= behind:
        return None
    target, following = relocations.at(index), relocations.at(index + 1)
    return following.offset if following.section == target.section else None


def _rows(
    program: bytes, begin: int, header: Header, code: OffsetMap, address: int, again: int | None
) -> list[Row]:
    """The rows at which an edit of ``code`` has been reached, and the end of the sequence.

    The sequence is at ``address`` where its program goes on at ``begin``; ``again`` is where the
    next DW_LNE_set_address goes on.  Behind the last edit nothing changes any more, so there this
    stops.

    One piece, because it runs for every opcode of a program (100,000 in a kernel object): it takes
    bytes from one iterator, keeps nothing per row, and asks only whether the address has reached
    the next edit.  Measured: 7 ms for the 75 KB of kernel/sched/core.o with 293 edits, and memory
    for 1.8 times the section; ten times the units take ten times as long.
    """
    rows: list[Row] = []
    places = code.places
    edit = bisect_right(places, address)
    if edit == len(places):
        return rows
    limit = places[edit]
    size, advances = len(program), header.advances
    opcode_base, unit_size = header.opcode_base, header.unit_size
    # Of an iterator over bytes, how many are left, and how to go to a position.
    opcodes = iter(program)
    left = opcodes.__length_hint__  # type: ignore[attr-defined]
    jump = opcodes.__setstate__  # type: ignore[attr-defined]
    jump(begin)
    line_left = 0  # bytes left behind the opcode of the last DW_LNS_advance_line
    pc_left = pc_size = pc_amount = 0  # the last DW_LNS_advance_pc or _const_add_pc: bytes left
    # behind it, its own bytes, bytes of code
    for opcode in opcodes:
        if opcode >= opcode_base:
            address += advances[opcode]
            if address < limit:
                continue
        elif opcode in (DW_LNS_set_column, DW_LNS_set_file):
            while next(opcodes) > 0x7F:
                pass
            continue
        elif opcode == DW_LNS_negate_stmt:
            continue
        elif opcode == DW_LNS_copy:
            if address < limit:
                continue
        elif opcode == DW_LNS_advance_line:
            line_left = left()
            while next(opcodes) > 0x7F:
                pass
            continue
        elif opcode == DW_LNS_extended_op:
            length = next(opcodes)
            position = size - left()
            place = position - 2
            if length > 0x7F:
                length, position = leb128.unsigned(program, place + 1)
            if not length or length > size - position:
                raise IndexError(place)
            operation = program[position]
            if operation in (DW_LNE_end_sequence, DW_LNE_set_address):
                if operation == DW_LNE_end_sequence:
                    front, amount = (pc_size, pc_amount) if size - place == pc_left else (0, 0)
                    rows.append(Row("end", place - front, place, 0, amount, address, True))
                return rows
            jump(position + length)
            continue
        elif opcode == DW_LNS_advance_pc:
            units, pc_size = next(opcodes), 2
            if units > 0x7F:
                place = size - left() - 1
                units, position = leb128.unsigned(program, place)
                jump(position)
                pc_size = 1 + position - place
            pc_amount = units * unit_size
            address += pc_amount
            pc_left = left()
            continue
        elif opcode == DW_LNS_const_add_pc:
            pc_amount, pc_size = advances[opcode], 1
            address += pc_amount
            pc_left = left()
            continue
        elif opcode == DW_LNS_fixed_advance_pc:
            amount = next(opcodes) + (next(opcodes) << 8)
            address += amount
            if address < limit:
                continue
        else:
            for _ in range(header.operand_counts[opcode - 1]):
                while next(opcodes) > 0x7F:
                    pass
            continue

        # The address has reached an edit.
        behind = size - left()
        ends = address in code.padded and _ends_here(program, behind, header, address == again)
        if opcode == DW_LNS_fixed_advance_pc:
            rows.append(Row("fixed advance", behind - 2, behind, 0, amount, address, ends))
        else:
            advance = Row("advance", size - pc_left - pc_size + 1, size - pc_left, 0, 0, 0, ends)
            lines = size - line_left
            if pc_size > 1 and _is_by_itself(program, header, advance, behind - 1, lines):
                rows.append(advance._replace(amount=pc_amount, address=address))
            else:
                place, amount = behind - 1, advances[opcode]
                if pc_left == size - place:
                    place, amount = place - pc_size, amount + pc_amount
                place, line = _with_line(program, header, opcode, place, lines)
                rows.append(Row("row", place, behind, line, amount, address, ends))
        edit = bisect_right(places, address, edit)
        if ends or edit == len(places):
            return rows
        limit = places[edit]
    return rows


def _is_by_itself(program: bytes, header: Header, advance: Row, row: int, operand: int) -> bool:
    """Whether a DW_LNS_advance_pc belongs to the row at ``row`` otherwise than gas or LLVM have it.

    These write it directly in front of a special opcode, or between DW_LNS_advance_line, whose
    operand is at ``operand``, and DW_LNS_copy.  Another row or advance in between parts the two.
    """
    if advance.end == row:
        if program[row] != DW_LNS_copy:
            return False
        return operand > row or leb128.skip(program, operand) != advance.place - 1
    position = advance.end
    while position < row:
        opcode = program[position]
        if opcode == DW_LNS_extended_op:
            position = _extended(program, position)[1]
            continue
        if opcode in _ADVANCES or opcode >= header.opcode_base:
            return False
        position += 1
        for _ in range(header.operand_counts[opcode - 1]):
            position = leb128.skip(program, position)
    return position == row


_ADVANCES = frozenset(
    (DW_LNS_copy, DW_LNS_advance_pc, DW_LNS_const_add_pc, DW_LNS_fixed_advance_pc)
)
"""The standard opcodes that make a row or move its address."""


def _with_line(
    program: bytes, header: Header, opcode: int, place: int, operand: int
) -> tuple[int, int]:
    """Where a row begins, and by how many lines it advances.

    It ends with ``opcode``, and its advance of the address, if it has one, is at ``place``;
    ``operand`` is that of the last DW_LNS_advance_line, which belongs to it where it is directly in
    front.
    """
    line = 0
    if opcode != DW_LNS_copy:
        line = header.line_base + (opcode - header.opcode_base) % header.line_range
    if operand < place:
        lines, behind = leb128.signed(program, operand)
        if behind == place:
            return operand - 1, line + lines
    return place, line


def _extended(program: bytes, place: int) -> tuple[int, int]:
    """The extended opcode (DW_LNE_*) at ``place``, and the offset behind it.

    Raises IndexError and `BadLeb128`.
    """
    length, position = leb128.unsigned(program, place + 1)
    if not length or position + length > len(program):
        raise IndexError(place)
    return program[position], position + length


def _ends_here(program: bytes, position: int, header: Header, again: bool = False) -> bool:
    """Say whether the sequence ends before the address changes again, from ``position`` on.

    With ``again`` it also does at a DW_LNE_set_address, which sets the address that it has.  Only
    asked where the sides differ, at padding.  Raises IndexError and `BadLeb128`.
    """
    while position < len(program):
        opcode = program[position]
        begin, position = position, position + 1
        if opcode == DW_LNS_extended_op:
            operation, position = _extended(program, begin)
            if operation in (DW_LNE_end_sequence, DW_LNE_set_address):
                return again or operation == DW_LNE_end_sequence
        elif opcode == DW_LNS_advance_pc:
            units, position = leb128.unsigned(program, position)
            if units:
                return False
        elif opcode == DW_LNS_fixed_advance_pc:
            if any(program[position : position + 2]):
                return False
            position += 2
        elif header.advances[opcode]:
            return False
        elif opcode < header.opcode_base:
            for _ in range(header.operand_counts[opcode - 1]):
                position = leb128.skip(program, position)
    return False


# -- move -----------------------------------------------------------------------------------------


def moved(sequence: LineSequence) -> Iterator[tuple[Row, int]]:
    """The rows of a sequence whose distance changes, each with the bytes that it advances now."""
    shift = _shift(sequence.code, sequence.address, sequence.empty)
    for row in sequence.rows:
        new = _shift(sequence.code, row.address, row.ends)
        if new != shift:
            yield row, row.amount + new - shift
        shift = new


def _shift(code: OffsetMap, address: int, ends: bool) -> int:
    """By how much ``address`` moves; where the sequence ends at it, nothing begins there."""
    return (code.after(address) if ends else code.start(address)) - address


# -- write ----------------------------------------------------------------------------------------


def _written(section: Section, header: Header, row: Row, amount: int) -> Change:
    """The opcodes of a row that advances by ``amount`` bytes now."""
    place = header.program + row.place
    if row.kind == "fixed advance":
        return changed(section.name, place, place + 2, amount, "fixed advance")
    units, rest = divmod(amount, header.unit_size)
    if rest or units < 0:
        found = f"a row that moves by {amount} bytes"
        raise Unsupported(section.name, place, found, _UNKNOWN)
    if row.kind == "advance":
        opcodes = leb128.encode_unsigned(units)
    elif row.kind == "row":
        opcodes = _encode(header, row.line, units)
    else:
        opcodes = _encode_end(header, units, row.place < row.end)
    return Change(place, header.program + row.end, opcodes)


def _encode(header: Header, line: int, units: int) -> bytes:
    """The opcodes of a row that advances by ``line`` lines and ``units`` of code."""
    result = b""
    adjusted = line - header.line_base
    advanced = not 0 <= adjusted < header.line_range or header.opcode_base + adjusted > 255
    if advanced:
        result = bytes((DW_LNS_advance_line,)) + leb128.encode_signed(line)
        line, adjusted = 0, -header.line_base
    if line == 0 and units == 0:
        return result + bytes((DW_LNS_copy,))
    if 0 <= adjusted < header.line_range:
        opcode = header.opcode_base + adjusted + units * header.line_range
        if opcode <= 255:
            return result + bytes((opcode,))
        const_add_pc = header.advances[DW_LNS_const_add_pc] // header.unit_size
        opcode -= const_add_pc * header.line_range
        if header.opcode_base + adjusted <= opcode <= 255:
            return result + bytes((DW_LNS_const_add_pc, opcode))
    result += bytes((DW_LNS_advance_pc,)) + leb128.encode_unsigned(units)
    return result + bytes((DW_LNS_copy if advanced else header.opcode_base + adjusted,))


def _encode_end(header: Header, units: int, explicit: bool) -> bytes:
    """The advance by ``units`` of code in front of DW_LNE_end_sequence.

    gas writes it for no distance too; LLVM doesn't.  ``explicit`` says that there was one.
    """
    if not units and not explicit:
        return b""
    if units * header.unit_size == header.advances[DW_LNS_const_add_pc]:
        return bytes((DW_LNS_const_add_pc,))
    return bytes((DW_LNS_advance_pc,)) + leb128.encode_unsigned(units)
