"""Line number information: ``.debug_line``, versions 2 to 5.

A unit is a header and a program that prints rows (address, file, line, ...).  A sequence of rows
begins with DW_LNE_set_address, which is relocated; from there on the program adds up distances that
the assembler has turned into numbers, until DW_LNE_end_sequence.  When the code moves, nearly all
distances stay: only the first row behind an inserted byte changes.  So:

* the address of a row is on the ``start`` side, that of an end of sequence on the ``after`` side,
  and so are rows at that very place: nothing begins there;
* a row whose distance changes is encoded anew as the assembler does: DW_LNS_advance_line where the
  line doesn't fit into a special opcode, then a special opcode, with DW_LNS_const_add_pc in front,
  or DW_LNS_advance_pc (`_encode`).  What belongs to the row is its opcode and the line and address
  advances directly in front of it; everything else keeps its bytes, the header included;
* DW_LNS_fixed_advance_pc, which GCC writes itself where it doesn't leave the table to the
  assembler, has its two bytes changed in place.

The numbers of location views aren't in the program: they count the rows at one address, and rows
that were at one address still are.

The loop in `_changes` runs once for every opcode of the program (100,000 in a kernel object)
and is written for that: it takes bytes from one iterator, keeps nothing per row, asks only
whether the address has reached the next edit, and leaves a sequence when there are no more.
Measured: 7 ms for the 75 KB of kernel/sched/core.o with 293 edits, and memory for 1.8 times the
section; ten times the units take ten times as long.

Sources: DWARF 5, section 6.2, and the same section of DWARF 2 to 4; binutils, gas/dwarf2dbg.c
(`emit_inc_line_addr`), and LLVM, MCDwarf.cpp (`MCDwarfLineAddr::encode`), which agree but for the
end of a sequence.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from dwarf import forms, leb128
from dwarf.errors import Unsupported
from dwarf.offset_map import IDENTITY, OffsetMap, resize
from dwarf.section import Change, Rewritten, Section, apply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dwarf.offset_map import Side

DW_LNS_copy = 1
DW_LNS_advance_pc = 2
DW_LNS_advance_line = 3
DW_LNS_set_file = 4
DW_LNS_set_column = 5
DW_LNS_negate_stmt = 6
DW_LNS_const_add_pc = 8
DW_LNS_fixed_advance_pc = 9
DW_LNE_end_sequence = 1
DW_LNE_set_address = 2
DW_LNE_set_discriminator = 4

_EXTENDED = 0
_OPERAND_COUNTS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
_LAST_OF_DWARF_2 = 9
_NEVER = 1 << 64

_DAMAGED = "the line table is damaged; compile the file again"
_UNKNOWN = "nopfix can't move it; compile the file without -g"


class _Unit(NamedTuple):
    """A unit's header, as far as its program needs it.

    ``start``, ``program`` and ``end`` are section offsets, ``length_size`` the bytes of the whole
    initial length.  ``advances`` says for each opcode by how many bytes it moves the address,
    operands aside.
    """

    start: int
    length_size: int
    program: int
    end: int
    unit_size: int
    line_base: int
    line_range: int
    opcode_base: int
    operand_counts: bytes
    advances: list[int]


def rewrite(section: Section, maps: Mapping[int, OffsetMap]) -> Rewritten:
    """Rewrite ``.debug_line`` for code that moved.

    ``maps`` are the maps of the sections that moved, by number.  Where nothing changes the result
    holds the given bytes and `IDENTITY`.  Raises `Unsupported`.
    """
    data = bytes(section.data)
    sides: dict[int, Side] = {}
    changes: list[Change] = []
    start = 0
    while start < len(data):
        end, offset_size, behind = forms.initial_length(data, start, section.name)
        if end - behind < offset_size + 6:
            raise Unsupported(section.name, start, "a unit that ends too early", _DAMAGED)
        version = int.from_bytes(data[behind : behind + 2], "little")
        if not 2 <= version <= 5:
            raise Unsupported(section.name, start, f"a line table of version {version}", _UNKNOWN)
        if _moves(section, start, end, maps):
            unit = _read_unit(section, data, start, behind, end, offset_size, version)
            new = _changes(section, data, unit, maps, sides)
            growth = sum(len(change.data) - (change.end - change.place) for change in new)
            if growth:
                place = behind - offset_size
                length = (end - behind + growth).to_bytes(offset_size, "little")
                changes.append(Change(place, behind, length))
            changes += new
        start = end
    if not changes:
        return Rewritten(section.data, IDENTITY, sides)
    edits = [
        resize(change.end, len(change.data) - (change.end - change.place))
        for change in changes
        if len(change.data) != change.end - change.place
    ]
    return Rewritten(apply(section, changes), OffsetMap(edits), sides)


# -- the header -----------------------------------------------------------------------------------


def _moves(section: Section, start: int, end: int, maps: Mapping[int, OffsetMap]) -> bool:
    """Say whether a relocation from ``start`` to ``end`` points into a section that moved."""
    relocations = section.relocations
    first = bisect_left(relocations.places, start)
    behind = bisect_left(relocations.places, end, first)
    return any(maps.get(relocations.at(index).section) for index in range(first, behind))


def _read_unit(
    section: Section,
    data: bytes,
    start: int,
    behind_length: int,
    end: int,
    offset_size: int,
    version: int,
) -> _Unit:
    """Read a header (DWARF 5, 6.2.4); its length was checked to hold the fixed part."""
    position = behind_length + (4 if version >= 5 else 2)
    header_length = int.from_bytes(data[position : position + offset_size], "little")
    position += offset_size
    program = position + header_length
    fields = data[position : min(program, end)]
    if program > end or len(fields) < 6:
        raise Unsupported(section.name, start, "a header that doesn't fit its unit", _DAMAGED)
    if version >= 4:
        if fields[1] > 1:
            raise Unsupported(
                section.name, position + 1, "several operations in an instruction", _UNKNOWN
            )
        fields = fields[:1] + fields[2:]
    unit_size, _, line_base, line_range, opcode_base = fields[:5]
    counts = fields[5 : 4 + opcode_base]
    if len(counts) != opcode_base - 1 or not unit_size or not line_range:
        raise Unsupported(section.name, start, "a header that makes no sense", _DAMAGED)
    known = min(len(counts), len(_OPERAND_COUNTS))
    if known < _LAST_OF_DWARF_2 or counts[:known] != _OPERAND_COUNTS[:known]:
        raise Unsupported(section.name, start, "standard opcodes of another meaning", _UNKNOWN)
    advances = [0] * opcode_base
    advances += [
        (opcode - opcode_base) // line_range * unit_size for opcode in range(opcode_base, 256)
    ]
    advances[DW_LNS_const_add_pc] = advances[255]
    if line_base >= 128:
        line_base -= 256
    return _Unit(
        start,
        behind_length - start,
        program,
        end,
        unit_size,
        line_base,
        line_range,
        opcode_base,
        counts,
        advances,
    )


# -- the program ----------------------------------------------------------------------------------


def _changes(
    section: Section,
    data: bytes,
    unit: _Unit,
    maps: Mapping[int, OffsetMap],
    sides: dict[int, Side],
) -> list[Change]:
    """Run the program of ``unit`` and return what changes in it, in order.

    Sides of relocations are added to ``sides``.
    """
    program = data[unit.program : unit.end]
    size = len(program)
    set_addresses = _set_addresses(section, program, unit)
    advances = unit.advances
    opcode_base = unit.opcode_base
    unit_size = unit.unit_size
    changes: list[Change] = []

    # Of an iterator over bytes, how many are left, and how to go to a position.
    opcodes = iter(program)
    left = opcodes.__length_hint__  # type: ignore[attr-defined]
    jump = opcodes.__setstate__  # type: ignore[attr-defined]

    code_map = IDENTITY
    address = shift = 0  # the registers: old address, and by how much it has moved
    limit = _NEVER  # where the next edit of the code is
    line_left = 0  # bytes left behind the opcode of the last DW_LNS_advance_line
    pc_left = pc_size = pc_amount = 0  # the last DW_LNS_advance_pc or _const_add_pc: bytes left
    # behind it, its own bytes, bytes of code
    try:
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
            elif opcode == _EXTENDED:
                length = next(opcodes)
                position = size - left()
                begin = position - 2
                if length > 0x7F:
                    length, position = leb128.unsigned(program, position - 1)
                if not length or length > size - position:
                    raise Unsupported(
                        section.name, unit.program + begin, "a cut-off extended opcode", _DAMAGED
                    )
                operation = program[position]
                jump(position + length)
                if operation == DW_LNE_set_address:
                    place = unit.program + position + 1
                    target = section.relocations.target(place)
                    if target is None:
                        address = int.from_bytes(
                            program[position + 1 : position + length], "little"
                        )
                        code_map = IDENTITY
                    else:
                        address = target.offset
                        code_map = maps.get(target.section, IDENTITY)
                    ends = False
                    if code_map.after(address) != code_map.start(address):
                        ends = _ends_here(program, position + length, unit)
                        if ends:
                            sides[place] = "after"
                    shift, limit = _shift(code_map, address, ends)
                    if limit == _NEVER and not ends:
                        following = bisect_left(set_addresses, position)
                        jump(set_addresses[following] if following < len(set_addresses) else size)
                elif operation == DW_LNE_end_sequence:
                    new = code_map.after(address) - address
                    if new != shift:
                        amount = new - shift
                        own = size - begin == pc_left
                        start = begin - pc_size if own else begin
                        amount += pc_amount if own else 0
                        changes.append(
                            Change(
                                unit.program + start,
                                unit.program + begin,
                                _encode_end(section, unit, start, amount, own),
                            )
                        )
                    code_map = IDENTITY
                    address = shift = 0
                    limit = _NEVER
                continue
            elif opcode == DW_LNS_advance_line:
                line_left = left()
                while next(opcodes) > 0x7F:
                    pass
                continue
            elif opcode == DW_LNS_copy:
                if address < limit:
                    continue
            elif opcode == DW_LNS_advance_pc:
                units = next(opcodes)
                pc_size = 2
                if units > 0x7F:
                    begin = size - left() - 1
                    units, position = leb128.unsigned(program, begin)
                    jump(position)
                    pc_size = 1 + position - begin
                pc_amount = units * unit_size
                address += pc_amount
                pc_left = left()
                continue
            elif opcode == DW_LNS_const_add_pc:
                pc_size = 1
                pc_amount = advances[opcode]
                address += pc_amount
                pc_left = left()
                continue
            elif opcode != DW_LNS_fixed_advance_pc:
                for _ in range(unit.operand_counts[opcode - 1]):
                    while next(opcodes) > 0x7F:
                        pass
                continue
            else:
                amount = next(opcodes) + (next(opcodes) << 8)
                address += amount
                if address < limit:
                    continue

            # The address has reached an edit: this row, or fixed advance, changes.
            behind = size - left()
            ends = code_map.after(address) != code_map.start(address) and _ends_here(
                program, behind, unit
            )
            new, limit = _shift(code_map, address, ends)
            growth = new - shift
            shift = new
            if growth:
                begin = behind - 1
                if opcode == DW_LNS_fixed_advance_pc:
                    begin = behind - 2
                    encoded = _fixed(section, unit, begin, amount + growth)
                else:
                    amount = growth + advances[opcode]
                    line = 0
                    if opcode != DW_LNS_copy:
                        line = unit.line_base + (opcode - opcode_base) % unit.line_range
                    if pc_left == size - begin:
                        begin -= pc_size
                        amount += pc_amount
                    if line_left:
                        lines, position = leb128.signed(program, size - line_left)
                        if position == begin:
                            begin = size - line_left - 1
                            line += lines
                    encoded = _encode(section, unit, begin, line, amount)
                changes.append(Change(unit.program + begin, unit.program + behind, encoded))
            if limit == _NEVER and not ends:
                following = bisect_left(set_addresses, behind)
                jump(set_addresses[following] if following < len(set_addresses) else size)
    except (StopIteration, leb128.BadLeb128) as error:
        raise Unsupported(
            section.name, unit.start, "a line program that ends too early", _DAMAGED
        ) from error
    return changes


def _set_addresses(section: Section, program: bytes, unit: _Unit) -> list[int]:
    """Where the program's DW_LNE_set_address opcodes begin, from their relocations."""
    places = section.relocations.places
    found = []
    for place in places[bisect_left(places, unit.program) : bisect_left(places, unit.end)]:
        begin = place - unit.program - 3
        if begin < 0 or program[begin : begin + 3] != b"\0\x09\x02":
            raise Unsupported(section.name, place, "a relocation in a line program", _UNKNOWN)
        found.append(begin)
    return found


def _shift(code_map: OffsetMap, address: int, ends: bool) -> tuple[int, int]:
    """By how much ``address`` moves, and the next edit behind it.

    With ``ends`` the sequence ends at ``address``, so that nothing begins there.
    """
    index = bisect_right(code_map.places, address)
    limit = code_map.places[index] if index < len(code_map.places) else _NEVER
    return (code_map.after(address) - address if ends else code_map.shifts[index]), limit


def _ends_here(program: bytes, position: int, unit: _Unit) -> bool:
    """Say whether the sequence ends before the address changes again, from ``position`` on.

    Only asked where the sides differ, at padding.  Raises `BadLeb128`.
    """
    while position < len(program):
        opcode = program[position]
        position += 1
        if opcode == _EXTENDED:
            length, position = leb128.unsigned(program, position)
            operation = program[position] if position < len(program) else 0
            if operation in (DW_LNE_end_sequence, DW_LNE_set_address):
                return operation == DW_LNE_end_sequence
            position += length
        elif opcode == DW_LNS_advance_pc:
            units, position = leb128.unsigned(program, position)
            if units:
                return False
        elif opcode == DW_LNS_fixed_advance_pc:
            if any(program[position : position + 2]):
                return False
            position += 2
        elif unit.advances[opcode]:
            return False
        elif opcode < unit.opcode_base:
            for _ in range(unit.operand_counts[opcode - 1]):
                position = leb128.skip(program, position)
    return False


# -- opcodes --------------------------------------------------------------------------------------


def _units(section: Section, unit: _Unit, begin: int, amount: int) -> int:
    """``amount`` bytes of code in units of the header's minimum_instruction_length."""
    units, rest = divmod(amount, unit.unit_size)
    if rest or units < 0:
        raise Unsupported(
            section.name, unit.program + begin, f"a row that moves by {amount} bytes", _UNKNOWN
        )
    return units


def _encode(section: Section, unit: _Unit, begin: int, line: int, amount: int) -> bytes:
    """The opcodes of a row that advances by ``line`` lines and ``amount`` bytes."""
    units = _units(section, unit, begin, amount)
    result = b""
    adjusted = line - unit.line_base
    advanced = not 0 <= adjusted < unit.line_range or unit.opcode_base + adjusted > 255
    if advanced:
        result = bytes((DW_LNS_advance_line,)) + leb128.encode_signed(line)
        line, adjusted = 0, -unit.line_base
    if line == 0 and units == 0:
        return result + bytes((DW_LNS_copy,))
    if 0 <= adjusted < unit.line_range:
        opcode = unit.opcode_base + adjusted + units * unit.line_range
        if opcode <= 255:
            return result + bytes((opcode,))
        opcode -= unit.advances[DW_LNS_const_add_pc] // unit.unit_size * unit.line_range
        if unit.opcode_base + adjusted <= opcode <= 255:
            return result + bytes((DW_LNS_const_add_pc, opcode))
    result += bytes((DW_LNS_advance_pc,)) + leb128.encode_unsigned(units)
    return result + bytes((DW_LNS_copy if advanced else unit.opcode_base + adjusted,))


def _encode_end(section: Section, unit: _Unit, begin: int, amount: int, explicit: bool) -> bytes:
    """The advance by ``amount`` bytes in front of DW_LNE_end_sequence.

    gas writes it for no distance too; LLVM doesn't.  ``explicit`` says that there was one.
    """
    units = _units(section, unit, begin, amount)
    if not units and not explicit:
        return b""
    if amount == unit.advances[DW_LNS_const_add_pc]:
        return bytes((DW_LNS_const_add_pc,))
    return bytes((DW_LNS_advance_pc,)) + leb128.encode_unsigned(units)


def _fixed(section: Section, unit: _Unit, begin: int, amount: int) -> bytes:
    """The operand of DW_LNS_fixed_advance_pc: two bytes, in bytes of code."""
    if not 0 <= amount <= 0xFFFF:
        raise Unsupported(
            section.name, unit.program + begin, f"a fixed advance of {amount} bytes", _UNKNOWN
        )
    return amount.to_bytes(2, "little")
