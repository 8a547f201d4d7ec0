"""Damage to a rewritten object by somebody who knows nothing of its meaning: records and fields.

Records and fields are swapped, dropped, doubled, or off by a little; so are bytes and blocks of
every section. What each function takes and yields is as in damage.py.
"""

from __future__ import annotations

import functools
import itertools
import struct
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import elf
from tests.verifier.damage import patch, patched, relaid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.verifier.damage import Mutants

SHT_PROGBITS, SHT_NOTE = 1, 7


class Field(NamedTuple):
    """A field of a record, or several that stand together."""

    name: str
    offset: int
    size: int


_RELOCATION = (
    Field("r_offset", 0, 8),
    Field("r_type", 8, 4),
    Field("r_sym", 12, 4),
    Field("r_info", 8, 8),
    Field("r_addend", 16, 8),
)
_SYMBOL = (
    Field("st_name", 0, 4),
    Field("st_info to st_shndx", 4, 4),
    Field("st_value", 8, 8),
    Field("st_size", 16, 8),
    Field("record", 0, 24),
)
_SECTION = (
    Field("sh_name", 0, 4),
    Field("sh_type", 4, 4),
    Field("sh_flags", 8, 8),
    Field("sh_addr", 16, 8),
    Field("sh_offset", 24, 8),
    Field("sh_size", 32, 8),
    Field("sh_link", 40, 4),
    Field("sh_info", 44, 4),
    Field("sh_addralign", 48, 8),
    Field("sh_entsize", 56, 8),
)
_SECTIONS = (
    Field("header", 0, 64),
    Field("sh_name", 0, 4),
    Field("sh_offset", 24, 8),
    Field("sh_offset and sh_size", 24, 16),
    Field("sh_link and sh_info", 40, 8),
    Field("sh_addralign", 48, 8),
)


def _tables(data: bytes, kind: int) -> Iterator[tuple[elf.Section, int]]:
    """The tables of relocations or symbols, each with the number of its records."""
    for section in elf.read(data).sections:
        if section.type == kind:
            yield section, section.size // 24


def _stored(data: bytes) -> Iterator[tuple[elf.Section, bytes]]:
    """Sections that have bytes in the file, with these."""
    for section in elf.read(data).sections:
        if section.size and section.type not in (0, elf.SHT_NOBITS):
            yield section, data[section.offset : section.offset + section.size]


def _partners(number: int, count: int) -> set[int]:
    """The records that one is swapped with: the next one, and one that lies somewhere else."""
    others = {number + 1, number * 7 + 3} - {number}
    return {other for other in others if other < count}


def _patched_twice(data: bytes, one: tuple[int, bytes], two: tuple[int, bytes]) -> bytes:
    return patched(patched(data, *one), *two)


def _spliced(data: bytes, number: int, start: int, end: int, new: bytes) -> bytes:
    """The object with other bytes for those from `start` to `end` of a section."""
    section = elf.read(data).sections[number]
    stored = data[section.offset : section.offset + section.size]
    return relaid(data, number, stored[:start] + new + stored[end:])


def _swapped(
    data: bytes, start: int, size: int, count: int, fields: Iterable[Field], what: str
) -> Mutants:
    """Fields of two records of a table that differ, swapped."""
    for number in range(count):
        for other in _partners(number, count):
            for field in fields:
                one, two = (start + size * n + field.offset for n in (number, other))
                first, second = data[one : one + field.size], data[two : two + field.size]
                if first != second:
                    yield (
                        f"{field.name} of {number} and {other} {what}",
                        functools.partial(_patched_twice, data, (one, second), (two, first)),
                    )


def _set(data: bytes, at: int, size: int, values: Iterable[int], what: str) -> Mutants:
    """A field of `size` bytes with each of the other values."""
    old = int.from_bytes(data[at : at + size], "little")
    for value in sorted({value % (1 << 8 * size) for value in values} - {old}):
        yield (
            f"{what}: {value:#x} for {old:#x}",
            patch(data, at, value.to_bytes(size, "little")),
        )


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def relocations_swapped(data: bytes) -> Mutants:
    for table, count in _tables(data, elf.SHT_RELA):
        yield from _swapped(data, table.offset, 24, count, _RELOCATION, f"in {table.name}")


def relocations_off(data: bytes) -> Mutants:
    for table, count in _tables(data, elf.SHT_RELA):
        for number in range(count):
            at = table.offset + 24 * number
            for name, field, deltas in (("r_offset", 0, (4, -4, 1)), ("r_addend", 16, _DELTAS)):
                value = _number(data, at + field, 8)
                values = (value + delta for delta in deltas)
                what = f"{name} of {number} in {table.name}"
                yield from _set(data, at + field, 8, values, what)


_DELTAS = (4, -4, 8, 1, 16)


def symbols_swapped(data: bytes) -> Mutants:
    for table, count in _tables(data, elf.SHT_SYMTAB):
        yield from _swapped(data, table.offset, 24, count, _SYMBOL, f"in {table.name}")


def symbol_fields(data: bytes) -> Mutants:
    """Value and size are off by a little; the rest is each other value that means something."""
    for table, count in _tables(data, elf.SHT_SYMTAB):
        for number in range(1, count):
            at = table.offset + 24 * number
            info, other, section, value, size = struct.unpack_from("<BBHQQ", data, at + 4)
            what = f"of {number} in {table.name}"
            for name, offset, width, values in (
                ("binding", 4, 1, [bind << 4 | info & 15 for bind in (0, 1, 2, 10)]),
                ("type", 4, 1, [info & 0xF0 | kind for kind in (0, 1, 2, 3, 6)]),
                ("visibility", 5, 1, [other & ~3 | seen for seen in range(4)]),
                ("local entry", 5, 1, [other & 31 | entry << 5 for entry in range(8)]),
                ("st_shndx", 6, 2, [0, section + 1, 0xFFF1, 0xFFF2]),
                ("st_value", 8, 8, [value + delta for delta in (4, -4, 8, 1)]),
                ("st_size", 16, 8, [size + delta for delta in (4, -4, 1)]),
            ):
                yield from _set(data, at + offset, width, values, f"{name} {what}")


def section_fields(data: bytes) -> Mutants:
    obj = elf.read(data)
    for section in obj.sections:
        at = obj.section_headers + 64 * section.number
        for field in _SECTION:
            if field.name == "sh_offset" and section.type in (0, elf.SHT_NOBITS):
                # Where nothing is: may be anywhere between the neighbours.
                continue
            value = _number(data, at + field.offset, field.size)
            near = {value + delta for delta in (1, -1, 4, -4, 8)} | {0, value * 2, value // 2}
            bits = {value ^ 1 << bit for bit in (0, 1, 2, 4, 6, 7, 9, 31)}
            what = f"{field.name} of {section.name or section.number}"
            yield from _set(data, at + field.offset, field.size, near | bits, what)


def section_headers_swapped(data: bytes) -> Mutants:
    obj = elf.read(data)
    first, count = obj.section_headers + 64, len(obj.sections) - 1
    yield from _swapped(data, first, 64, count, _SECTIONS, "among the section headers")


def elf_header_fields(data: bytes) -> Mutants:
    for offset in range(4, 64):
        byte = data[offset]
        values = [byte ^ 1, byte ^ 2, byte ^ 4, byte ^ 0x80, byte + 1, 0]
        yield from _set(data, offset, 1, values, f"byte {offset} of the ELF header")


def bytes_off(data: bytes) -> Mutants:
    for section, stored in _stored(data):
        for offset, byte in enumerate(stored):
            values = [byte + delta for delta in (4, -4, 1, -1, 8, 0x80)]
            what = f"byte {section.name}+{offset:#x}"
            yield from _set(data, section.offset + offset, 1, values, what)


def file_bytes(data: bytes) -> Mutants:
    """Each byte of the file is another one, of which bits differ is as good as random."""
    for offset, byte in enumerate(data):
        mask = 1 + (offset * 167 + len(data)) % 255
        yield from _set(data, offset, 1, [byte ^ mask], f"byte {offset:#x} of the file")


def blocks(data: bytes) -> Mutants:
    """Blocks of 4, 8 and 16 bytes of a section are swapped, or written over another."""
    for section, stored in _stored(data):
        for width in (4, 8, 16):
            count, field = len(stored) // width, Field(f"{width} bytes", 0, width)
            yield from _swapped(data, section.offset, width, count, [field], f"of {section.name}")
            for number, other in ((n, o) for n in range(count) for o in _partners(n, count)):
                block = stored[other * width : (other + 1) * width]
                if block != stored[number * width : (number + 1) * width]:
                    yield (
                        f"{width} bytes of {section.name}, {number} is {other}",
                        patch(data, section.offset + number * width, block),
                    )


def bytes_dropped_and_doubled(data: bytes) -> Mutants:
    for section, stored in _stored(data):
        make, size = functools.partial(_spliced, data, section.number), len(stored)
        for more in (4, 8):
            zeros = bytes(more)
            yield f"{more} zeros behind {section.name}", functools.partial(make, size, size, zeros)
        for width in (1, 4, 8, 24):
            for at in range(0, size - width + 1, width):
                what, end = f"{width} bytes of {section.name}+{at:#x}", at + width
                yield f"{what} dropped", functools.partial(make, at, end, b"")
                yield f"{what} doubled", functools.partial(make, at, at, stored[at:end])


def _records(data: bytes) -> Iterator[tuple[elf.Section, int, list[bytes]]]:
    """(section, bytes of a record, its records) of tables, and of notes and data by doublewords."""
    sizes = {elf.SHT_RELA: 24, elf.SHT_SYMTAB: 24, elf.SHT_GROUP: 4, SHT_PROGBITS: 8, SHT_NOTE: 4}
    for section, stored in _stored(data):
        size = sizes.get(section.type, 0)
        if size and not section.executable and not section.compression:
            whole = range(0, section.size // size * size, size)
            yield section, size, [stored[at : at + size] for at in whole]


def records_swapped(data: bytes) -> Mutants:
    for section, size, records in _records(data):
        for number, (first, second) in enumerate(itertools.pairwise(records)):
            if first != second:
                at = section.offset + number * size
                yield f"records {number} of {section.name}", patch(data, at, second + first)


def records_dropped(data: bytes) -> Mutants:
    for section, stored in _stored(data):
        make = functools.partial(_spliced, data, section.number)
        yield f"{section.name} is empty", functools.partial(make, 0, len(stored), b"")
    for section, size, records in _records(data):
        make = functools.partial(_spliced, data, section.number)
        for number in range(len(records)):
            at = number * size
            what = f"record {number} of {section.name}"
            yield what, functools.partial(make, at, at + size, b"")


def records_doubled(data: bytes) -> Mutants:
    for section, size, records in _records(data):
        make = functools.partial(_spliced, data, section.number)
        for number, record in enumerate(records):
            at = number * size
            yield f"record {number} of {section.name}", functools.partial(make, at, at, record)


def sections_dropped(data: bytes) -> Mutants:
    count = (len(elf.read(data).sections) - 1).to_bytes(2, "little")
    yield "the last section", patch(data, 60, count)


KINDS: dict[str, Callable[[bytes], Mutants]] = {
    "relocations swapped": relocations_swapped,
    "relocation off": relocations_off,
    "symbols swapped": symbols_swapped,
    "symbol field": symbol_fields,
    "section header field": section_fields,
    "section headers swapped": section_headers_swapped,
    "ELF header field": elf_header_fields,
    "byte off": bytes_off,
    "byte of the file": file_bytes,
    "block swapped or repeated": blocks,
    "bytes dropped or doubled": bytes_dropped_and_doubled,
    "records swapped": records_swapped,
    "record dropped": records_dropped,
    "record doubled": records_doubled,
    "section dropped": sections_dropped,
}
