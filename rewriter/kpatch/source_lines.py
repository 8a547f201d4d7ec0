"""Source file and line of a few places in code, for messages.

The problem: a message about a call should name the source line, but a general DWARF reader applies
every relocation of the object first (seconds for a kernel object).  The rule: run the line programs
once, take the address of each DW_LNE_set_address from its relocation, and remember only the rows
that cover the places that were asked for.  A place that no row covers, or a table that can't be
read, has no line: this is for people, nothing depends on it.

Source: DWARF 5, 6.2 (line number information); DWARF 2 to 4, 6.2.4 (the older header).
"""

from __future__ import annotations

from bisect import bisect_left

from nopfix.dwarf import encodings, forms, leb128, numbers
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import compressed, debug_sections, elf

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from nopfix.rewriter.object.program import Place

DW_LNS_copy = 1
DW_LNS_advance_pc = 2
DW_LNS_advance_line = 3
DW_LNS_set_file = 4
DW_LNS_const_add_pc = 8
DW_LNS_fixed_advance_pc = 9
DW_LNE_end_sequence = 1
DW_LNE_set_address = 2
DW_LNCT_path = 1

_NEVER = 1 << 64


class LineProgram(Record):
    """One line program: where its opcodes lie and what the header says about them."""

    start: int
    end: int
    minimum_length: int
    line_base: int
    line_range: int
    opcode_base: int
    operand_counts: bytes
    files: dict[int, str]


def find(obj: elf.Object, places: Collection[Place]) -> dict[Place, str]:
    """``FILE:LINE`` of each of ``places``, as far as .debug_line knows it."""
    found: dict[Place, str] = {}
    wanted: dict[int, list[int]] = {}
    for number, offset in sorted(places):
        wanted.setdefault(number, []).append(offset)
    for section in obj.sections:
        if section.plain_name != ".debug_line":
            continue
        targets = _targets(obj, section.number)
        try:
            compressed.check(obj)
            data = _contents(obj, section.number)
            for program in _programs(obj, data, targets):
                _run(data, program, targets, wanted, found)
        except (ArithmeticError, IndexError, ValueError, Unsupported, Refusal):
            pass  # malformed: what was found before it stands
    return found


def _contents(obj: elf.Object, number: int) -> bytes:
    return compressed.decompress(obj.sections[number], obj.contents(number))


def _targets(obj: elf.Object, number: int) -> dict[int, Place]:
    """What each relocated field of a section points at."""
    found = debug_sections.relocations_of(obj, number)
    return {place: found.at(index) for index, place in enumerate(found.places)}


def _programs(obj: elf.Object, data: bytes, targets: dict[int, Place]) -> Iterator[LineProgram]:
    at = 0
    while at < len(data):
        end, offset_size, place = numbers.initial_length(data, at, ".debug_line")
        version = numbers.number(data, place, 2)
        if not 2 <= version <= 5:
            return
        place += 4 if version >= 5 else 2
        start = place + offset_size + numbers.number(data, place, offset_size)
        place += offset_size
        minimum_length = data[place]
        place += 3 if version >= 4 else 2  # maximum_operations, default_is_stmt
        line_base = data[place] - (data[place] >> 7 << 8)
        line_range, opcode_base = data[place + 1], data[place + 2]
        counts = data[place + 3 : place + 2 + opcode_base]
        place += 2 + opcode_base
        if version >= 5:
            files = _files(obj, data, place, offset_size, targets)
        else:
            files = _old_files(data, place)
        yield LineProgram(
            start, end, minimum_length, line_base, line_range, opcode_base, counts, files
        )
        at = end


def _old_files(data: bytes, place: int) -> dict[int, str]:
    """File names by number: DWARF 2 to 4, 6.2.4; include directories are left out."""
    while data[place]:
        place = data.index(0, place) + 1
    place += 1
    files: dict[int, str] = {}
    while data[place]:
        end = data.index(0, place)
        files[len(files) + 1] = data[place:end].decode("utf-8", "replace")
        place = end + 1
        for _ in range(3):
            place = leb128.skip(data, place)
    return files


def _files(
    obj: elf.Object, data: bytes, place: int, offset_size: int, targets: dict[int, Place]
) -> dict[int, str]:
    """File names by number: DWARF 5, 6.2.4.1; the directory table is stepped over."""
    sizes = forms.Sizes(5, offset_size, 8)
    names: list[str] = []
    for _ in range(2):  # directories, then files
        names = []
        formats = []
        format_count = data[place]
        place += 1
        for _ in range(format_count):
            content, place = leb128.unsigned(data, place)
            form, place = leb128.unsigned(data, place)
            formats.append((content, form))
        count, place = leb128.unsigned(data, place)
        for _ in range(count):
            name = "?"
            for content, form in formats:
                if content == DW_LNCT_path:
                    name = _string(obj, data, place, form, targets)
                place = forms.skip(data, place, form, sizes)
            names.append(name)
    return dict(enumerate(names))


def _string(obj: elf.Object, data: bytes, place: int, form: int, targets: dict[int, Place]) -> str:
    if form != encodings.DW_FORM_string:
        section, place = targets.get(place, (0, 0))
        if section <= 0:
            return "?"
        data = _contents(obj, section)
    return data[place : data.index(0, place)].decode("utf-8", "replace")


def _run(
    data: bytes,
    program: LineProgram,
    targets: dict[int, Place],
    wanted: dict[int, list[int]],
    found: dict[Place, str],
) -> None:
    """Run a line program and note the row that covers each wanted offset.

    ``due`` is the next wanted offset.  The row in force (``row_file``, ``row_line``) covers it when
    a later row, or the end of the sequence, lies behind it.
    """
    place, end = program.start, program.end
    line_base, line_range, opcode_base = program.line_base, program.line_range, program.opcode_base
    unit = program.minimum_length
    section, offset, file, line = -1, 0, 1, 1
    row_file, row_line, due = 0, 0, _NEVER
    while place < end:
        opcode = data[place]
        place += 1
        appends = opcode == DW_LNS_copy
        if opcode >= opcode_base:
            advance, step = divmod(opcode - opcode_base, line_range)
            offset += advance * unit
            line += line_base + step
            appends = True
        elif opcode == 0:
            size, place = leb128.unsigned(data, place)
            kind = data[place]
            if kind == DW_LNE_set_address:
                target = targets.get(place + 1, (-1, 0))
                if target[0] != section:  # not in the middle of a sequence
                    due = _due(wanted, *target)
                section, offset = target
            appends = kind == DW_LNE_end_sequence
            place += size
        elif opcode == DW_LNS_advance_pc:
            advance, place = leb128.unsigned(data, place)
            offset += advance * unit
        elif opcode == DW_LNS_advance_line:
            step, place = leb128.signed(data, place)
            line += step
        elif opcode == DW_LNS_set_file:
            file, place = leb128.unsigned(data, place)
        elif opcode == DW_LNS_const_add_pc:
            offset += (255 - opcode_base) // line_range * unit
        elif opcode == DW_LNS_fixed_advance_pc:
            offset += numbers.number(data, place, 2)
            place += 2
        elif opcode != DW_LNS_copy:
            for _ in range(program.operand_counts[opcode - 1]):
                place = leb128.skip(data, place)
        if appends:
            while due < offset:
                found[section, due] = f"{program.files.get(row_file, '?')}:{row_line}"
                due = _due(wanted, section, due + 1)
            row_file, row_line = file, line
            if opcode == 0:
                section, offset, file, line, due = -1, 0, 1, 1, _NEVER


def _due(wanted: dict[int, list[int]], section: int, offset: int) -> int:
    """The first wanted offset of a section at or behind ``offset``."""
    offsets = wanted.get(section, [])
    index = bisect_left(offsets, offset)
    return offsets[index] if index < len(offsets) else _NEVER
