"""Damage an object where it hurts: its headers, tables, instructions and debug sections.

The problem: a flipped bit anywhere in a file mostly ends in the first check.  The rule: read the
object well enough to find its numbers, and give one of them a value at the edge of what its field,
its section or the file can hold; change, cut or stretch the contents of one section and keep the
rest consistent, so that the damage is seen by the code that it is meant for.  Compressed sections
are opened first and closed again.

Everything that is random comes from a `random.Random`, so a seed gives the same bytes again.

Source: System V gABI, chapters 4 and 5; DWARF 5, 7.4 (DWARF64 escape), 7.5 (abbreviations, forms).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

Mutation = Callable[[bytearray, "Picture", Random], bytearray]

_FILE_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_COMPRESSED = 0x800
_NOBITS = 8
# Bytes from a section header's start, and size, of each field.
_SECTION_FIELDS = (
    (0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8)
)  # fmt: skip
_FILE_FIELDS = (
    (4, 1), (5, 1), (16, 2), (18, 2), (20, 4), (32, 8), (40, 8), (48, 4), (52, 2), (58, 2),
    (60, 2), (62, 2),
)  # fmt: skip
_SYMBOL_FIELDS = ((0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8))
_RELOCATION_FIELDS = ((0, 8), (8, 4), (12, 4), (16, 8))
_FORMATS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_EDGES = (
    0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 24, 31, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFF0,
    0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFEF, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF,
    1 << 32, 1 << 33, (1 << 63) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 4, (1 << 64) - 1,
)  # fmt: skip
# b, bl, conditional branches, blr, bctr, bctrl, mtctr, nop, ld r2,24(r1), a prefix, add, lwax,
# extsw, sldi, addis r2, ld, cmplwi, mflr, bcl 20,31.
_WORDS = (
    0x48000000, 0x48000001, 0x4BFFFFFD, 0x48000003, 0x41820000, 0x42000000, 0x41020008, 0x41828001,
    0x4E800020, 0x4E800420, 0x4E800421, 0x7D2903A6, 0x60000000, 0xE8410018, 0x06100000, 0x04000000,
    0x7D295214, 0x7D2A4AAA, 0x7D2907B4, 0x792917C6, 0x3C420000, 0xE9290000, 0x28090005, 0x7C0802A6,
    0x429F0005, 0x00000000, 0xFFFFFFFF,
)  # fmt: skip
# What LEB128 readers stumble over: runs without end, overlong zeros, the largest values.
_LEB128 = (
    b"\x80" * 40, b"\xff" * 40, b"\x80" * 2000, b"\x80\x80\x80\x80\x00", b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff" * 9 + b"\x01", b"\x80" * 12 + b"\x01",
)  # fmt: skip
# DWARF64's escape with lengths of all sorts; DW_FORM_indirect naming itself; abbreviation 1 twice.
_PHRASES = (
    b"\xff\xff\xff\xff" + b"\xff" * 8, b"\xff\xff\xff\xff" + bytes(8),
    b"\xff\xff\xff\xff\x00\x00\x00\x00\x01\x00\x00\x00", b"\xf0\xff\xff\xff", b"\x16" * 16,
    b"\x01\x11\x01\x00\x00\x01\x11\x01\x00\x00", b"\x00" * 16, b"\x01\x2e\x01\x11\x16\x00\x00",
)  # fmt: skip


class Section(NamedTuple):
    """What a mutation needs of a section: where its header is, name, type, flags, extent."""

    header: int
    name: str
    type: int
    flags: int
    offset: int
    size: int


class Picture(NamedTuple):
    """The sections of an object that have contents inside the file."""

    table: int
    sections: list[Section]

    def named(self, *beginnings: str) -> list[Section]:
        """Those whose names begin so."""
        return [section for section in self.sections if section.name.startswith(beginnings)]

    def typed(self, *types: int) -> list[Section]:
        """Those of these SHT_* types."""
        return [section for section in self.sections if section.type in types]


def look(data: bytes | bytearray) -> Picture | None:
    """Read as much as the mutations need; None when there is no section table to speak of."""
    if len(data) < _FILE_HEADER.size:
        return None
    header = _FILE_HEADER.unpack_from(data)
    table, count, names_index = header[6], header[12], header[13]
    if not count or table + count * _SECTION_HEADER.size > len(data) or names_index >= count:
        return None
    rows = [
        _SECTION_HEADER.unpack_from(data, table + index * _SECTION_HEADER.size)
        for index in range(count)
    ]
    names = data[rows[names_index][4] :][: rows[names_index][5]]
    sections = []
    for index, (name, kind, flags, _, offset, size, *_) in enumerate(rows):
        if index and kind != _NOBITS and size and offset + size <= len(data):
            text = names[name : names.find(b"\0", name)].decode("latin-1")
            at = table + index * _SECTION_HEADER.size
            sections.append(Section(at, text, kind, flags, offset, size))
    return Picture(table, sections) if sections else None


def mutate(data: bytes, random: Random) -> bytes:
    """One to four mutations of the object ``data``, mostly of different things."""
    result = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        picture = look(result)
        mutation = random.choice(MUTATIONS) if picture else None
        if picture is None or mutation is None:
            result = _raw(result, random)
        else:
            result = mutation(result, picture, random)
    return bytes(result)


def _number(random: Random, old: int, size: int, total: int) -> int:
    """Another value for a field of ``size`` bytes in something ``total`` bytes long."""
    kind = random.randrange(5)
    if kind == 0:
        value = random.choice(_EDGES)
    elif kind == 1:
        value = old + random.choice((-8, -4, -2, -1, 1, 2, 3, 4, 8, 24, 64))
    elif kind == 2:
        value = total + random.choice((-8, -4, -1, 0, 1, 4, 8))
    elif kind == 3:
        value = old ^ 1 << random.randrange(8 * size)
    else:
        value = random.randrange(1 << random.randrange(1, 8 * size + 1))
    return value & (1 << 8 * size) - 1


def _change(data: bytearray, at: int, size: int, random: Random, total: int) -> None:
    if at + size <= len(data):
        (old,) = struct.unpack_from(_FORMATS[size], data, at)
        struct.pack_into(_FORMATS[size], data, at, _number(random, old, size, total))


def _raw(data: bytearray, random: Random) -> bytearray:
    """Any byte of the file, without a thought; or the file's end."""
    if not data:
        return bytearray(random.randbytes(64))
    if random.random() < 0.2:
        return data[: random.randrange(len(data))]
    for _ in range(random.randrange(1, 8)):
        data[random.randrange(len(data))] = random.randrange(256)
    return data


def _raw_bytes(data: bytearray, picture: Picture, random: Random) -> bytearray:
    return _raw(data, random)


def _file_header(data: bytearray, picture: Picture, random: Random) -> bytearray:
    offset, size = random.choice(_FILE_FIELDS)
    _change(data, offset, size, random, len(data))
    return data


def _section_header(data: bytearray, picture: Picture, random: Random) -> bytearray:
    section = random.choice(picture.sections)
    offset, size = random.choice(_SECTION_FIELDS)
    _change(data, section.header + offset, size, random, len(data))
    return data


def _swap_sections(data: bytearray, picture: Picture, random: Random) -> bytearray:
    """One section gets a field, or the whole header, of another."""
    here, other = random.choice(picture.sections), random.choice(picture.sections)
    offset, size = random.choice((*_SECTION_FIELDS, (0, 64)))
    value = data[other.header + offset : other.header + offset + size]
    data[here.header + offset : here.header + offset + size] = value
    return data


def _rows(types: tuple[int, ...], entry: int, fields: tuple[tuple[int, int], ...]) -> Mutation:
    """A mutation of one field of one row of a table in a section of one of ``types``."""

    def mutation(data: bytearray, picture: Picture, random: Random) -> bytearray:
        tables = [s for s in picture.typed(*types) if s.size >= entry]
        if not tables:
            return _raw(data, random)
        table = random.choice(tables)
        row = table.offset + entry * random.randrange(table.size // entry)
        offset, size = random.choice(fields)
        other = random.choice(picture.sections).size
        _change(data, row + offset, size, random, other)
        return data

    return mutation


def _relocation_rows(data: bytearray, picture: Picture, random: Random) -> bytearray:
    """Relocations dropped, doubled, or in another order."""
    tables = [s for s in picture.typed(4) if s.size >= 24]
    if not tables:
        return _raw(data, random)
    table = random.choice(tables)
    raw = data[table.offset : table.offset + table.size]
    rows = [raw[at : at + 24] for at in range(0, len(raw) - 23, 24)]
    which = random.randrange(len(rows))
    kind = random.randrange(3)
    if kind == 0:
        del rows[which]
    elif kind == 1:
        rows.insert(random.randrange(len(rows)), rows[which])
    else:
        random.shuffle(rows)
    return _replace(data, table, b"".join(rows))


def _instructions(data: bytearray, picture: Picture, random: Random) -> bytearray:
    code = [s for s in picture.sections if s.flags & 4 and s.size >= 4]
    if not code:
        return _raw(data, random)
    section = random.choice(code)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = section.offset + 4 * random.randrange(section.size // 4)
        if at + 4 > len(data):
            break
        (old,) = struct.unpack_from("<I", data, at)
        kind = random.randrange(4)
        if kind == 0:
            new = random.choice(_WORDS)
        elif kind == 1:
            new = random.choice(_WORDS) & 0xFC000003 | random.randrange(1 << 26) & 0x3FFFFFC
        elif kind == 2:
            new = old ^ 1 << random.randrange(32)
        else:
            other = section.offset + 4 * random.randrange(section.size // 4)
            (new,) = struct.unpack_from("<I", data, other) if other + 4 <= len(data) else (0,)
        struct.pack_into("<I", data, at, new)
    return data


def _contents(*beginnings: str) -> Mutation:
    """A mutation of the contents of one of the sections whose names begin so."""

    def mutation(data: bytearray, picture: Picture, random: Random) -> bytearray:
        sections = picture.named(*beginnings)
        if not sections:
            return _raw(data, random)
        section = random.choice(sections)
        old = bytes(data[section.offset : section.offset + section.size])
        header, plain = _opened(section, old)
        new = bytes(_damaged(bytearray(plain), random))
        if header is None:
            return _replace(data, section, new)
        announced = _number(random, len(new), 8, len(new)) if random.random() < 0.1 else len(new)
        return _replace(data, section, _closed(section, header, new, announced))

    return mutation


def _opened(section: Section, old: bytes) -> tuple[bytes | None, bytes]:
    """The compression header, if there is one, and the plain bytes."""
    try:
        if section.flags & _COMPRESSED:
            return old[:24], zlib.decompressobj().decompress(old[24:], 1 << 20)
        if old[:4] == b"ZLIB":
            return old[:12], zlib.decompressobj().decompress(old[12:], 1 << 20)
    except zlib.error:
        pass
    return None, old


def _closed(section: Section, header: bytes, plain: bytes, announced: int) -> bytes:
    if section.flags & _COMPRESSED:
        header = header[:8] + struct.pack("<Q", announced) + header[16:]
    else:
        header = header[:4] + struct.pack(">Q", announced)
    return header + zlib.compress(plain)


def _damaged(data: bytearray, random: Random) -> bytearray:
    """A section's contents with something wrong in them."""
    at = random.randrange(len(data) + 1)
    kind = random.randrange(8)
    if kind == 0:
        del data[at : at + random.choice((1, 1, 2, 4, 8, 64, len(data)))]
    elif kind == 1:
        data[at:at] = random.choice((*_LEB128, *_PHRASES))
    elif kind == 2:
        phrase = random.choice((*_LEB128, *_PHRASES))
        data[at : at + len(phrase)] = phrase
    elif kind == 3:
        start = random.randrange(len(data) + 1)
        data[at:at] = data[start : start + random.choice((1, 4, 16, 64, len(data)))]
    elif kind == 4:
        # The initial length or another field of a header, which lies at the beginning.
        size = random.choice((1, 2, 4, 8))
        _change(data, random.randrange(24), size, random, len(data))
    else:
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            size = random.choice((1, 1, 1, 2, 4, 8))
            _change(data, random.randrange(len(data) + 1), size, random, len(data))
    return data


def _replace(data: bytearray, section: Section, new: bytes) -> bytearray:
    """``data`` with another contents of ``section``; at the file's end where the size changed."""
    if len(new) == section.size:
        data[section.offset : section.offset + section.size] = new
        return data
    data += bytes(-len(data) % 16)
    struct.pack_into("<QQ", data, section.header + 24, len(data), len(new))
    return data + new


_symbols = _rows((2,), 24, _SYMBOL_FIELDS)
_relocations = _rows((4,), 24, _RELOCATION_FIELDS)
_any_contents = _contents("")
_strings = _contents(".strtab", ".shstrtab", ".symtab_shndx")
_special = _contents("__", ".toc", ".rodata", ".data", ".group")

#: What can go wrong, each as often as it stands here.
MUTATIONS: tuple[Mutation, ...] = (
    _raw_bytes,
    _file_header,
    _section_header,
    _section_header,
    _swap_sections,
    _symbols,
    _symbols,
    _relocations,
    _relocations,
    _relocations,
    _relocation_rows,
    _instructions,
    _instructions,
    _instructions,
    _any_contents,
    _strings,
    _special,
    _contents(".eh_frame", ".debug_frame"),
    _contents(".gcc_except_table"),
    _contents(".debug_info", ".debug_types", ".zdebug_info"),
    _contents(".debug_info", ".debug_types", ".zdebug_info"),
    _contents(".debug_abbrev", ".zdebug_abbrev"),
    _contents(".debug_line", ".zdebug_line"),
    _contents(".debug_loc", ".debug_rng", ".debug_ranges", ".zdebug_loc"),
    _contents(".debug_", ".zdebug_"),
    _contents(".debug_", ".zdebug_"),
)
