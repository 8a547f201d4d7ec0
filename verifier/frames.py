""".eh_frame and .debug_frame: every frame description still describes the same instructions.

pyelftools decodes the entries (DWARF 5, 6.4 and 7.24; LSB Core, "Exception Frames"). A CIE stays as
it was. An FDE's range follows its function; each row of the table begins where the instruction
that it began at went; all other call frame instructions stay. An entry may grow when an advance
needs a wider form, or shrink when one has nothing to advance over, and is then padded with
DW_CFA_nop to the same multiple as before.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.dwarf.callframe import CIE, ZERO, CallFrameInfo
from elftools.dwarf.constants import DW_CFA
from elftools.dwarf.structs import DWARFStructs

from nopfix.verifier.elf import SHT_PROGBITS
from nopfix.verifier.pairing import END, START
from nopfix.verifier.reader import Malformed

if TYPE_CHECKING:
    from nopfix.verifier.elf import Object, Section
    from nopfix.verifier.fields import Fields, Target

_ADVANCES = (DW_CFA.advance_loc, DW_CFA.advance_loc1, DW_CFA.advance_loc2, DW_CFA.advance_loc4)


class Handler(NamedTuple):
    """A function with exception tables: where its LSDA and its code are."""

    lsda: Target
    function: Target


_AUGMENTATION = re.compile(rb"(z[PLRSBG]*|eh)?\0")


def is_eh_frame(obj: Object, section: Section) -> bool:
    """Whether a section is an .eh_frame, whatever its name is.

    `objcopy --prefix-alloc-sections` gives it another. Then it is made of entries to its end,
    begins with a CIE (id 0, version 1 or 3, an augmentation that is known), and an entry that
    points to one has an address in code where an FDE has one.
    """
    data = section.data
    if section.name == ".eh_frame":
        return True
    if section.type != SHT_PROGBITS or section.executable or len(data) < 32:
        return False
    if any(data[4:8]) or data[8] not in (1, 3) or not _AUGMENTATION.match(data, 9):
        return False
    starts = [0]
    while starts[-1] + 4 <= len(data):
        length = int.from_bytes(data[starts[-1] : starts[-1] + 4], "little")
        if length < 9 and starts[-1] + 4 != len(data):
            return False
        starts.append(starts[-1] + 4 + length)
    known = set(starts)
    addresses = {
        start + 8
        for start in starts[1:-1]
        if start + 4 - int.from_bytes(data[start + 4 : start + 8], "little") in known
    }
    return starts[-1] == len(data) and any(
        relocation.place in addresses and obj.sections[obj.target(relocation)[0]].executable
        for relocation in obj.relocations.get(section.number, ())
    )


def handlers(old: Object) -> list[tuple[int, int, int, int]]:
    """The LSDAs of IN: section and offset of each, section and offset of its function."""
    found = []
    for section in old.sections:
        relocations = old.relocations.get(section.number, ())
        # Without an augmentation that has an L in it no entry has an LSDA.
        if len(relocations) < 2 or b"L" not in section.data:
            continue
        if not is_eh_frame(old, section):
            continue
        by_place = {relocation.place: relocation for relocation in relocations}
        try:
            entries = _entries(section.data, eh_frame=True)
        except Malformed:
            continue
        for entry in entries:
            if isinstance(entry, (ZERO, CIE)):
                continue
            inside = [by_place[at] for at in range(entry.offset, _end(entry)) if at in by_place]
            if len(inside) == 2:
                function, lsda = (old.target(relocation) for relocation in inside)
                found.append((*lsda, *function))
    return found


def check(fields: Fields) -> list[Handler]:
    """Compare all entries of an .eh_frame or .debug_frame; returns the LSDAs referred to."""
    eh_frame = is_eh_frame(fields.checker.old, fields.section)
    before = _entries(fields.old, eh_frame)
    after = _entries(fields.new, eh_frame)
    if len(before) != len(after):
        fields.differ("frame", None, None, f"has {len(before)} entries in IN, {len(after)} in OUT")
        return []
    moved = {a.offset: b.offset for a, b in zip(before, after, strict=True)}
    unit = _padding_unit(before)
    handlers: list[Handler] = []
    places = sorted(fields.old_relocations)
    new_places = sorted(fields.new_relocations)
    position = new_position = 0
    for a, b in zip(before, after, strict=True):
        if type(a) is not type(b):
            fields.differ("frame", a.offset, b.offset, "an entry changed its kind")
            continue
        if isinstance(a, ZERO):
            continue
        end, new_end = _end(a), _end(b)
        inside, position = _within(places, position, end)
        new_inside, new_position = _within(new_places, new_position, new_end)
        if (new_end - b.offset) % unit:
            fields.differ(
                "frame", a.offset, b.offset, f"its size is not a multiple of {unit} in OUT"
            )
        if len(inside) != len(new_inside):
            fields.differ("frame", a.offset, b.offset, "its relocations differ in number")
            continue
        if isinstance(a, CIE):
            _check_cie(fields, a, b, inside, new_inside)
        else:
            handlers += _check_fde(fields, a, b, inside, new_inside, moved, eh_frame)
    if before and _covered(before) != len(fields.old):
        raise Malformed("bytes behind the last entry")
    fields.findings.count("frame entry", len(before))
    return handlers


def _within(places: list[int], position: int, end: int) -> tuple[list[int], int]:
    """The places from `position` on that lie before `end`, and where to go on."""
    first = position
    while position < len(places) and places[position] < end:
        position += 1
    return places[first:position], position


def _entries(data: bytes, eh_frame: bool) -> list[Any]:
    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8, dwarf_version=4)
    info = CallFrameInfo(io.BytesIO(data), len(data), 0, structs, for_eh_frame=eh_frame)
    try:
        return list(info.get_entries())
    except (DWARFError, ELFError, ConstructError, AssertionError, LookupError) as e:
        raise Malformed(f"call frame information: {type(e).__name__}: {e}") from None
    except (ValueError, OverflowError, RecursionError, TypeError) as e:
        raise Malformed(f"call frame information: {type(e).__name__}: {e}") from None


def _end(entry: Any) -> int:
    if isinstance(entry, ZERO):
        return int(entry.offset) + 4
    return int(entry.offset + entry.header.length + entry.structs.initial_length_field_size())


def _covered(entries: list[Any]) -> int:
    return _end(entries[-1])


def _padding_unit(entries: list[Any]) -> int:
    """The multiple that all of IN's entries are padded to."""
    sizes = [_end(entry) - entry.offset for entry in entries if not isinstance(entry, ZERO)]
    return (
        8
        if all(size % 8 == 0 for size in sizes)
        else 4
        if all(size % 4 == 0 for size in sizes)
        else 1
    )


def _instructions(entry: Any) -> list[tuple[int, list[Any]]]:
    return [(i.opcode, i.args) for i in entry.instructions]


def _without_padding(
    instructions: list[tuple[int, list[Any]]],
) -> tuple[list[tuple[int, list[Any]]], int]:
    end = len(instructions)
    while end and instructions[end - 1][0] == DW_CFA.nop:
        end -= 1
    return instructions[:end], len(instructions) - end


def _check_cie(fields: Fields, a: CIE, b: CIE, inside: list[int], new_inside: list[int]) -> None:
    old_bytes = fields.old[a.offset : _end(a)]
    new_bytes = fields.new[b.offset : _end(b)]
    fields.equal("frame", a.offset, b.offset, old_bytes, new_bytes)
    for place, new_place in zip(inside, new_inside, strict=True):
        fields.equal("frame", place, new_place, place - a.offset, new_place - b.offset)
        fields.relocated(place, new_place)


def _check_fde(
    fields: Fields,
    a: Any,
    b: Any,
    inside: list[int],
    new_inside: list[int],
    moved: dict[int, int],
    eh_frame: bool,
) -> list[Handler]:
    """An FDE: its CIE, range, LSDA and rows."""
    if a.structs.dwarf_format != b.structs.dwarf_format:
        fields.differ("frame", a.offset, b.offset, "32-bit and 64-bit DWARF")
        return []
    if moved.get(a.cie.offset) != b.cie.offset:
        fields.differ("frame", a.offset, b.offset, "its CIE pointer leads to another CIE in OUT")
    places = list(zip(inside, new_inside, strict=True))
    header = (12 if a.structs.dwarf_format == 64 else 4) + a.structs.dwarf_format // 8
    function: Target | None = None
    lsda: Target | None = None
    for place, new_place in places:
        fields.equal("frame", place, new_place, place - a.offset, new_place - b.offset)
        side = START
        where = place - a.offset
        found = fields.relocated(place, new_place, side)
        if where == header:
            function = found
        elif where > header:
            lsda = found
    length = a.header["address_range"]
    expected = fields.span(function, length)
    if expected is None:
        fields.differ("frame-range", a.offset, b.offset, "its function has no counterpart in OUT")
        return []
    if function is None:
        fields.equal(
            "frame", a.offset, b.offset, a.header["initial_location"], b.header["initial_location"]
        )
    if b.header["address_range"] != expected:
        fields.differ(
            "frame-range",
            a.offset,
            b.offset,
            f"covers {length:#x} bytes in IN, so {expected:#x} in OUT, but says"
            f" {b.header['address_range']:#x}",
        )
    fields.equal("frame", a.offset, b.offset, a.augmentation_bytes, b.augmentation_bytes)
    _check_rows(fields, a, b, function)
    if function is not None and lsda is not None and eh_frame:
        return [Handler(lsda, function)]
    return []


def _check_rows(fields: Fields, a: Any, b: Any, function: Target | None) -> None:
    """The call frame instructions: the same, each at the counterpart of its location."""
    before, old_padding = _without_padding(_instructions(a))
    after, padding = _without_padding(_instructions(b))
    if padding >= 8:
        fields.differ("frame", a.offset, b.offset, f"padded with {padding} DW_CFA_nop")
    # Every byte is one of an instruction in its shortest form, or padding.
    spare = _end(a) - a.offset - old_padding - sum(map(_encoded_size, before))
    new_spare = _end(b) - b.offset - padding - sum(map(_encoded_size, after))
    if spare != new_spare or not _same_advances(before, after):
        fields.differ("frame-row", a.offset, b.offset, "its instructions are encoded otherwise")
    old_rows = _rows(before, a.cie.header["code_alignment_factor"])
    new_rows = _rows(after, b.cie.header["code_alignment_factor"])
    if len(old_rows) != len(new_rows):
        fields.differ(
            "frame-row",
            a.offset,
            b.offset,
            f"has {len(old_rows)} call frame instructions in IN, {len(new_rows)} in OUT",
        )
        return
    for (location, instruction), (new_location, new_instruction) in zip(
        old_rows, new_rows, strict=True
    ):
        if instruction != new_instruction:
            fields.differ(
                "frame-row",
                a.offset,
                b.offset,
                f"{_describe(instruction)} at function+{location:#x} in IN became"
                f" {_describe(new_instruction)}",
            )
            continue
        expected: int | None = location
        if function is not None and function.section:
            start = fields.move(function.section, function.old, START)
            there = fields.move(function.section, function.old + location, START)
            expected = None if start is None or there is None else there - start
        if expected != new_location:
            fields.differ(
                "frame-row",
                a.offset,
                b.offset,
                f"{_describe(instruction)} takes effect at function+{location:#x} in IN, so at"
                f" +{expected or 0:#x} in OUT, but does at +{new_location:#x}",
            )
    fields.findings.count("frame row", len(old_rows))


def _same_advances(before: list[tuple[int, list[Any]]], after: list[tuple[int, list[Any]]]) -> bool:
    """Whether the advances stand between the same instructions.

    One over padding that is gone in OUT is left out, as the assembler leaves out one over nothing.
    Whether that is so the rows' locations tell.
    """
    old_runs, new_runs = _advance_runs(before), _advance_runs(after)
    return len(old_runs) == len(new_runs) and all(
        not new or (len(new) == len(old) and (0 in old or 0 not in new))
        for old, new in zip(old_runs, new_runs, strict=True)
    )


def _advance_runs(instructions: list[tuple[int, list[Any]]]) -> list[list[int]]:
    """The advances in front of each other instruction, and behind the last one."""
    runs: list[list[int]] = [[]]
    for opcode, args in instructions:
        if opcode in _ADVANCES:
            runs[-1].append(args[0])
        else:
            runs.append([])
    return runs


def _rows(
    instructions: list[tuple[int, list[Any]]], factor: int
) -> list[tuple[int, tuple[int, list[Any]]]]:
    """(location relative to the function, instruction) for all that are not advances."""
    location = 0
    rows = []
    for opcode, args in instructions:
        if opcode in _ADVANCES:
            location += args[0] * factor
        else:
            rows.append((location, (opcode, args)))
    return rows


def _encoded_size(instruction: tuple[int, list[Any]]) -> int:
    """Bytes that an instruction takes, with LEB128 operands as short as they can be."""
    opcode, args = instruction
    if opcode in _FIXED_SIZES:
        return _FIXED_SIZES[opcode]
    operands = args if opcode < 0x40 else args[1:]
    size = 1
    for number, operand in enumerate(operands):
        if isinstance(operand, int):
            signed = opcode in _SIGNED and number == len(operands) - 1
            bits = (operand if operand >= 0 else ~operand).bit_length() + signed
            size += max(1, -(-bits // 7))
        else:
            size += max(1, -(-len(operand).bit_length() // 7)) + len(operand)
    return size


_FIXED_SIZES: dict[int, int] = {
    DW_CFA.advance_loc: 1,
    DW_CFA.restore: 1,
    DW_CFA.set_loc: 9,
    DW_CFA.advance_loc1: 2,
    DW_CFA.advance_loc2: 3,
    DW_CFA.advance_loc4: 5,
}
_SIGNED = (
    DW_CFA.def_cfa_sf,
    DW_CFA.def_cfa_offset_sf,
    DW_CFA.offset_extended_sf,
    DW_CFA.val_offset_sf,
)

_NAMES = {value: name for name, value in vars(DW_CFA).items() if isinstance(value, int)}


def _describe(instruction: tuple[int, list[Any]]) -> str:
    opcode, args = instruction
    return f"DW_CFA_{_NAMES.get(opcode, hex(opcode))} {', '.join(map(str, args))}".strip()


__all__ = ["END", "Handler", "check"]
