"""Loops that are dense to be fast say what their plain twins say."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import abbreviations, elf, entries, lines, list_entries, verify
from nopfix.verifier.forms import Format
from nopfix.verifier.reader import Reader
from tests.verifier import damage

if TYPE_CHECKING:
    from nopfix.verifier.abbreviations import Abbreviation

DATA = Path(__file__).parent / "data"
WITH_DEBUG = (
    *("dwarf2", "dwarf4", "dwarf5", "dwarf64", "llvm", "llvm-split", "llvm-split4"),
    *("throws-debug", "views"),
)


def sections(name: str) -> dict[str, bytes]:
    obj = elf.read((DATA / f"{name}.out.o").read_bytes())
    return {section.name: section.data for section in obj.sections}


# Simple entries


def plain_skip(
    data: bytes, at: int, end: int, table: dict[int, Abbreviation], constant: set[bytes]
) -> entries.Simple:
    """`entries.skip_simple`, attribute by attribute."""
    reader = Reader(data, at, end)
    starts: list[int] = []
    filled: list[tuple[Abbreviation, list[int]]] = []
    depth = 0
    while not reader.done:
        start = reader.position
        code = reader.uleb()
        abbreviation = table.get(code)
        values = [a.read(reader) for a in abbreviation.attributes] if abbreviation else []
        if code and (
            abbreviation is None
            or (abbreviation.steps and not abbreviation.simple)
            or any(v.form == "DW_FORM_exprloc" and v.raw not in constant for v in values)
        ):
            reader.position = start
            break
        starts.append(start)
        if abbreviation:
            forms = ("DW_FORM_addr", "DW_FORM_sec_offset")
            if places := [value.place for value in values if value.form in forms]:
                filled.append((abbreviation, places))
        depth += abbreviation.children if abbreviation else -1
    return entries.Simple(starts, reader.position, depth, filled)


@pytest.mark.parametrize("name", ["dwarf2", "dwarf4", "dwarf5", "llvm", "throws-debug"])
@pytest.mark.parametrize("known", [False, True])
def test_simple_entries_are_skipped_as_reading_them_would(name: str, known: bool) -> None:
    found = sections(name)
    info = found[".debug_info"]
    version = int.from_bytes(info[4:6], "little")
    table = abbreviations.read(found[".debug_abbrev"], 0, Format(version, 4, 8))
    position = 12 if version == 5 else 11
    walked, constant = 0, set[bytes]()
    while position < len(info):
        dense = entries.skip_simple(info, position, len(info), table, constant)
        assert dense == plain_skip(info, position, len(info), table, constant)
        walked += len(dense.starts)
        position = dense.end
        if position < len(info):
            reader = Reader(info, position, len(info))
            for attribute in table[reader.uleb()].attributes:
                value = attribute.read(reader)
                if known and value.form == "DW_FORM_exprloc":
                    constant.add(value.raw)
            position = reader.position
    assert walked > 8


# Pairs of offsets in lists


def test_a_pair_of_offsets_is_read_as_its_numbers_are() -> None:
    numbers = (0, 1, 0x7F, 0x80, 0x81, 0x3FFF, 0x4000, 0x123456)
    for start in numbers:
        for stop in numbers:
            data = b"\x04" + uleb(start) + uleb(stop) + b"\x01\x50" + bytes(8)
            reader = Reader(data, 1, len(data))
            plain = (reader.uleb(), reader.uleb(), reader.position)
            wide = start > 0x3FFF or stop > 0x3FFF
            assert list_entries.offset_pair(data, 0) == (None if wide else plain)
    assert list_entries.offset_pair(b"\x05" + bytes(8), 0) is None
    assert list_entries.offset_pair(b"\x04\x00\x01", 0) is None


def uleb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize("name", WITH_DEBUG)
def test_lists_get_the_same_verdict_with_the_general_loop_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = ((DATA / f"{name}.{which}.o").read_bytes() for which in ("in", "out"))
    kinds = (damage.KINDS["location list"], damage.KINDS["range list"])
    mutants = [make() for kind in kinds for _, make in kind(new)]
    chosen = [new, *random.Random(name).sample(mutants, min(60, len(mutants)))]
    dense = [verify(old, mutant) for mutant in chosen]
    monkeypatch.setattr(list_entries, "offset_pair", lambda *_: None)
    assert [verify(old, mutant) for mutant in chosen] == dense


# Line programs


def plain_rows(data: bytes, header: lines.Header) -> list[tuple[int, int]]:
    """Address and line of each row, by the operations' definitions (DWARF 5, 6.2.5)."""
    reader = Reader(data, header.program, header.end)
    base, minimum = len(header.operands) + 1, header.minimum_instruction_length
    rows: list[tuple[int, int]] = []
    address, line = 0, 1
    while not reader.done:
        operation = reader.unsigned(1)
        if operation >= base:
            address += (operation - base) // header.line_range * minimum
            line += header.line_base + (operation - base) % header.line_range
            rows.append((address, line))
        elif operation == 0:
            length = reader.uleb()
            body = reader.take(length)
            if body[0] == 1:
                rows.append((address, line))
                address, line = 0, 1
            elif body[0] == 2:
                address = int.from_bytes(body[1:], "little")
        elif operation == 1:
            rows.append((address, line))
        elif operation == 2:
            address += reader.uleb() * minimum
        elif operation == 3:
            line += reader.sleb()
        elif operation == 8:
            address += (255 - base) // header.line_range * minimum
        elif operation == 9:
            address += reader.unsigned(2)
        else:
            for _ in range(header.operands[operation - 1]):
                reader.uleb()
    return rows


@pytest.mark.parametrize("name", WITH_DEBUG)
def test_the_rows_of_a_line_program_are_those_of_its_operations(name: str) -> None:
    data = sections(name)[".debug_line"]
    header = lines.header(data, 0)
    program = lines.program(data, header)
    found = []
    line = 1
    for row, (address, delta) in enumerate(zip(program.addresses, program.lines, strict=True)):
        line += delta
        found.append((address, line))
        if row in program.ends:
            line = 1
    assert found == plain_rows(data, header)
    assert len(found) > 20
