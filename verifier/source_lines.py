"""File and line of a place in code, for messages; from .debug_line (DWARF 5, 6.2; DWARF 4, 6.2).

It is looked up only for what is reported. What can't be read gives no line, never an error: the
report is about something else.
"""

from __future__ import annotations

import bisect
import struct
from typing import NamedTuple

from nopfix.verifier import lines
from nopfix.verifier.elf import RESERVED, SHT_RELA, Linked, Unreadable, read_module
from nopfix.verifier.reader import Malformed, Reader

DW_LNS_set_file = 4
DW_LNCT_path = 1
_STRINGS = {0x08: "", 0x0E: ".debug_str", 0x1F: ".debug_line_str"}
"""DW_FORM_string, DW_FORM_strp, DW_FORM_line_strp: the sections that they refer to."""
_SIZES = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}
"""DW_FORM_data1, data2, data4, data8, data16"""


class Row(NamedTuple):
    """From an address on, up to the next row; `file` is empty behind a sequence's end."""

    address: int
    file: str
    line: int


class SourceLines:
    """The line tables of an object, read when they are first asked."""

    def __init__(self, data: bytes) -> None:
        """Of the object with these bytes."""
        self._data = data
        self._rows: dict[int, list[Row]] | None = None

    def at(self, section: int, offset: int) -> str:
        """`file:line` of an offset in a section; empty where nothing says."""
        if self._rows is None:
            try:
                self._rows = _read(read_module(self._data))
            except (Unreadable, Malformed, LookupError, ValueError, struct.error):
                self._rows = {}
        rows = self._rows.get(section, [])
        position = bisect.bisect_right(rows, offset, key=lambda row: row.address)
        row = rows[position - 1] if position else None
        return f"{row.file}:{row.line}" if row and row.file else ""


def _read(obj: Linked) -> dict[int, list[Row]]:
    """All rows, by the section of their addresses, in order of these."""
    found: dict[int, list[Row]] = {}
    strings = {section.name: section.data for section in obj.sections}
    for section in obj.sections:
        if section.name != ".debug_line" or section.type == SHT_RELA:
            continue
        data = bytearray(section.data)
        led = _resolved(obj, section.number, data)
        position = 0
        while position < len(data):
            header = lines.header(bytes(data), position)
            files = _Files(bytes(data), header, strings).names()
            for number, row in _rows(lines.program(bytes(data), header), files, led):
                found.setdefault(number, []).append(row)
            position = header.end
    return {number: sorted(rows, key=lambda row: row.address) for number, rows in found.items()}


def _resolved(obj: Linked, number: int, data: bytearray) -> dict[int, int]:
    """Fill in what relocations say; returns the section that each place leads to."""
    led = {}
    for table, relocations in obj.tables.items():
        if obj.sections[table].info != number:
            continue
        for place, kind, index, addend in relocations:
            symbol = obj.symbols[index]
            width = {1: 4, 38: 8}.get(kind)
            if width and 0 < symbol.section < RESERVED and place + width <= len(data):
                value = symbol.value + addend & (1 << 8 * width) - 1
                data[place : place + width] = value.to_bytes(width, "little")
                led[place] = symbol.section
    return led


def _rows(program: lines.Program, files: list[str], led: dict[int, int]) -> list[tuple[int, Row]]:
    """A program's rows, each with the section of its address."""
    rows = []
    places = iter([*program.places, (len(program.addresses), 0, 0)])
    following, section, behind = next(places), 0, 0
    file, line, at = 1, 1, 0
    ends = set(program.ends)
    for number, address in enumerate(program.addresses):
        while following[0] <= number:
            section, following = led.get(following[1], 0), next(places)
        # The operations in front of the row: a file is set by one with one operand.
        mark = program.marks[number]
        file = _file(bytes(program.settings[at:mark]), file)
        at, behind = mark, address
        line += program.lines[number]
        name = files[file] if file < len(files) else ""
        rows.append((section, Row(behind, "" if number in ends else name, line)))
        if number in ends:
            file, line = 1, 1
    return rows


def _file(settings: bytes, file: int) -> int:
    """The file that operations between two rows set, `file` where they set none."""
    reader = Reader(settings, 0, len(settings))
    while not reader.done:
        operation = reader.unsigned(1)
        if operation == DW_LNS_set_file:
            file = reader.uleb()
        elif operation == 0:
            length = reader.uleb()
            # What names an address stands here without it.
            reader.take(1 if length == 9 else length)
        elif operation in (5, 12):
            reader.uleb()
    return file


class _Files:
    """The table of file names of one header."""

    def __init__(self, data: bytes, header: lines.Header, strings: dict[str, bytes]) -> None:
        self.header = header
        self.strings = strings
        self.reader = Reader(data, header.tables, header.program)
        self.version = int.from_bytes(header.contents[:2], "little")

    def names(self) -> list[str]:
        """The names by number, from 1 before DWARF 5 and from 0 since."""
        if self.version >= 5:
            self._entries()
            return [entry.get(DW_LNCT_path, "") for entry in self._entries()]
        while self.reader.string():
            pass  # directories
        names = [""]
        while name := self.reader.string():
            names.append(name.decode(errors="replace"))
            for _ in range(3):
                self.reader.uleb()
        return names

    def _entries(self) -> list[dict[int, str]]:
        """Directories or files: what each is made of, then each (DWARF 5, 6.2.4)."""
        reader = self.reader
        formats = [(reader.uleb(), reader.uleb()) for _ in range(reader.unsigned(1))]
        return [
            {content: self._value(form) for content, form in formats} for _ in range(reader.uleb())
        ]

    def _value(self, form: int) -> str:
        reader = self.reader
        if form in _SIZES:
            reader.take(_SIZES[form])
        elif form == 0x0F:
            reader.uleb()
        elif form not in _STRINGS:
            raise Malformed(f"a file name of form {form:#x}")
        elif not _STRINGS[form]:
            return reader.string().decode(errors="replace")
        else:
            offset = reader.unsigned(self.header.offset_size)
            table = self.strings[_STRINGS[form]]
            return table[offset : table.index(b"\0", offset)].decode(errors="replace")
        return ""
