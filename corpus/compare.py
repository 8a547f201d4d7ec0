"""Compare two relocatable objects as a reader of ELF sees them, and say where they first differ.

Two objects are equal when they have the same sections in the same order, each with the same
header fields (all but the file offset) and the same bytes, the same relocations (place, type,
symbol, addend) and the same symbols.  Where sections lie in the file doesn't matter.  Compressed
sections (SHF_COMPRESSED, gABI chapter 4) are compared after decompression: two compressors may
well give different bytes for the same content.

The reader here is small and its own.  It shares nothing with the rewriter, and it has to be
quick: the regression runs compare tens of thousands of objects.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from typing import NamedTuple

from nopfix.corpus import lines

SHT_SYMTAB = 2
SHT_STRTAB = 3
SHT_RELA = 4
SHT_NOBITS = 8
SHT_SYMTAB_SHNDX = 18
SHF_COMPRESSED = 0x800
SHN_LORESERVE = 0xFF00
SHN_XINDEX = 0xFFFF
ELFCOMPRESS_ZLIB = 1
ELFCOMPRESS_ZSTD = 2

_PREFIX = struct.Struct("<IQ")

#: The note of `differences` about line tables that are equal by the rule of corpus.lines.
SAME_ROWS = "line table: the same rows, DW_LNE_set_address at other places"

_RELOCATIONS = {
    1: "ADDR32", 10: "REL24", 11: "REL14", 26: "REL32", 38: "ADDR64", 44: "REL64",
    47: "TOC16", 48: "TOC16_LO", 50: "TOC16_HA", 51: "TOC", 63: "TOC16_DS", 64: "TOC16_LO_DS",
    116: "REL24_NOTOC", 118: "ENTRY", 132: "PCREL34", 133: "GOT_PCREL34",
    249: "REL16", 250: "REL16_LO", 251: "REL16_HI", 252: "REL16_HA",
}  # fmt: skip


class Section(NamedTuple):
    """One section: its header fields (gABI figure 4-8) and its bytes, decompressed."""

    name: str
    type: int
    flags: int
    address: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int
    data: bytes


class Symbol(NamedTuple):
    """One symbol table entry (gABI figure 4-15), with the section's name in place of its index."""

    name: str
    info: int
    other: int
    section: str
    value: int
    size: int


class Relocation(NamedTuple):
    """One Elf64_Rela entry: place in the section, type, symbol (by index) and addend."""

    offset: int
    type: int
    symbol: int
    addend: int


class Elf(NamedTuple):
    """An object file: the header fields that mean something, its sections, its symbols."""

    header: tuple[int, ...]
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode("utf-8", "surrogateescape")


def _decompress(data: bytes) -> bytes:
    """Return what an Elf64_Chdr and the stream after it stand for, the header's type and
    alignment put first, so that they are compared too.
    """
    kind, _, size, alignment = struct.unpack_from("<IIQQ", data)
    stream = data[24:]
    if kind == ELFCOMPRESS_ZLIB:
        content = zlib.decompress(stream)
    elif kind == ELFCOMPRESS_ZSTD:
        content = _decompress_zstd(stream)
    else:
        raise ValueError(f"compression type {kind} is not known")
    if len(content) != size:
        raise ValueError(f"compressed data of {len(content)} bytes, {size} announced")
    return _PREFIX.pack(kind, alignment) + content


def _decompress_zstd(stream: bytes) -> bytes:
    """Python 3.11 has no zstd of its own; the program is everywhere."""
    program = shutil.which("zstd")
    if program is None:
        raise ValueError("zstd-compressed section, and there is no zstd program")
    return subprocess.run([program, "-dcq"], input=stream, capture_output=True, check=True).stdout


def read(data: bytes) -> Elf:
    """Read an ELF64 little-endian object.  Raises ValueError or struct.error for anything else."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    header = struct.unpack_from("<HHIQQQIHHHHHH", data, 16)
    table, count, names_index = header[5], header[11], header[12]
    raw = [struct.unpack_from("<IIQQQQIIQQ", data, table)]
    count = count or raw[0][5]
    names_index = raw[0][6] if names_index == SHN_XINDEX else names_index
    raw += [struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * i) for i in range(1, count)]
    names = data[raw[names_index][4] : raw[names_index][4] + raw[names_index][5]]
    sections = []
    for name, kind, flags, address, offset, size, link, info, alignment, entry_size in raw:
        content = b"" if kind in (0, SHT_NOBITS) else data[offset : offset + size]
        if flags & SHF_COMPRESSED:
            content = _decompress(content)
            size = len(content)
        sections.append(
            Section(
                _string(names, name), kind, flags, address, size, link, info, alignment,
                entry_size, content,
            )
        )  # fmt: skip
    return Elf(header[:4] + header[6:8], tuple(sections), tuple(_symbols(sections)))


def _symbols(sections: list[Section]) -> list[Symbol]:
    index = next((i for i, s in enumerate(sections) if s.type == SHT_SYMTAB), None)
    if index is None:
        return []
    table = sections[index]
    strings = sections[table.link].data
    extended = next(
        (s.data for s in sections if s.type == SHT_SYMTAB_SHNDX and s.link == index), b""
    )
    symbols = []
    for number, entry in enumerate(struct.iter_unpack("<IBBHQQ", table.data)):
        name, info, other, where, value, size = entry
        if where == SHN_XINDEX:
            (where,) = struct.unpack_from("<I", extended, 4 * number)
            place = f"[{where}] {sections[where].name}"
        elif where >= SHN_LORESERVE or where == 0:
            place = {0: "UND", 0xFFF1: "ABS", 0xFFF2: "COMMON"}.get(where, hex(where))
        else:
            place = f"[{where}] {sections[where].name}"
        symbols.append(Symbol(_string(strings, name), info, other, place, value, size))
    return symbols


def relocations(section: Section) -> list[Relocation]:
    """Decode an SHT_RELA section (gABI figure 4-21)."""
    return [
        Relocation(offset, info & 0xFFFFFFFF, info >> 32, addend)
        for offset, info, addend in struct.iter_unpack("<QQq", section.data)
    ]


# -- the comparison -------------------------------------------------------------------------------


def differences(
    got: bytes, want: bytes, *, limit: int = 20, notes: list[str] | None = None
) -> list[str]:
    """Return up to `limit` lines, each saying one way in which the object `got` isn't `want`.

    An empty list means equal.  Each line names the section or symbol; numbers are section offsets
    in hexadecimal.  Where the line tables are equal by the rule of corpus.lines and not byte for
    byte, that is no difference, and `notes` gets a line.

    Raises ValueError or struct.error where one of them is no readable object.
    """
    if got == want:
        return []
    ours, theirs = read(got), read(want)
    found: list[str] = []
    if ours.header != theirs.header:
        found.append(f"ELF header: got {ours.header}, want {theirs.header}")
    names = [section.name for section in ours.sections]
    wanted = [section.name for section in theirs.sections]
    if names != wanted:
        found.append(f"sections: got {names}, want {wanted}")
        return found
    _compare_symbols(ours, theirs, found)
    excepted: set[str] = set()
    if _lines_agree(ours, theirs):
        excepted = {".debug_line", ".rela.debug_line"}
        if notes is not None:
            notes.append(SAME_ROWS)
    for index, (a, b) in enumerate(zip(ours.sections, theirs.sections, strict=True)):
        if len(found) >= limit:
            break
        if a != b and b.name not in excepted:
            _compare_section(index, a, b, ours, theirs, found)
    return found[:limit]


def _lines_agree(ours: Elf, theirs: Elf) -> bool:
    """Say whether the line tables differ, and only as corpus.lines allows."""
    headers = [
        section._replace(size=0, data=section.data[: _prefix(section)])
        for elf in (ours, theirs)
        for section in elf.sections
        if section.name == ".debug_line"
    ]
    if len(headers) != 2 or headers[0] != headers[1]:
        return False
    tables = [_line_table(elf) for elf in (ours, theirs)]
    (data, places), (wanted, wanted_places) = tables
    if data == wanted:
        return False
    return lines.same_rows(data, wanted, places, wanted_places)


def _prefix(section: Section) -> int:
    """Return how many bytes `_decompress` has put in front of the contents."""
    return _PREFIX.size if section.flags & SHF_COMPRESSED else 0


def _line_table(elf: Elf) -> tuple[bytes, dict[int, lines.Address]]:
    """Return ``.debug_line`` and what the addresses in it stand for, by place."""
    data = next((s.data[_prefix(s) :] for s in elf.sections if s.name == ".debug_line"), b"")
    table = next((s for s in elf.sections if s.name == ".rela.debug_line"), None)
    places = {r.offset: (r.symbol, r.addend) for r in relocations(table)} if table else {}
    return data, places


def _compare_symbols(ours: Elf, theirs: Elf, found: list[str]) -> None:
    if ours.symbols == theirs.symbols:
        return
    if len(ours.symbols) != len(theirs.symbols):
        found.append(f"symbols: got {len(ours.symbols)}, want {len(theirs.symbols)}")
    shown = 0
    for number, (a, b) in enumerate(zip(ours.symbols, theirs.symbols, strict=False)):
        if a == b or shown == 4:
            continue
        shown += 1
        fields = [
            f"{field} got {_show(x)}, want {_show(y)}"
            for field, x, y in zip(Symbol._fields, a, b, strict=True)
            if x != y
        ]
        found.append(f"symbol {number} {b.name or b.section!r}: " + "; ".join(fields))


def _show(value: object) -> str:
    return hex(value) if isinstance(value, int) else repr(value)


def _compare_section(
    index: int, a: Section, b: Section, ours: Elf, theirs: Elf, found: list[str]
) -> None:
    where = f"[{index}] {b.name}"
    fields = [
        f"{field} got {_show(x)}, want {_show(y)}"
        for field, x, y in zip(Section._fields[:-1], a[:-1], b[:-1], strict=True)
        if x != y
    ]
    if fields:
        found.append(f"{where}: " + "; ".join(fields))
    if a.data == b.data or a.type == SHT_SYMTAB:
        return
    if a.type == SHT_RELA and b.type == SHT_RELA:
        _compare_relocations(where, a, b, ours, theirs, found)
        return
    place = first_difference(a.data, b.data)
    total = sum(x != y for x, y in zip(a.data, b.data, strict=False))
    found.append(
        f"{where}+{place:#x}: got {_bytes(a.data, place)}, want {_bytes(b.data, place)}"
        f" ({total} bytes differ{_place_name(theirs, index, place)})"
    )


def first_difference(a: bytes, b: bytes) -> int:
    """Return the first offset at which `a` and `b` differ (the shorter length if one is a prefix
    of the other).
    """
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _bytes(data: bytes, place: int) -> str:
    start = place & ~3
    return data[start : start + 8].hex(" ", 4) or "end"


def _place_name(elf: Elf, index: int, place: int) -> str:
    """Name the function that covers `place` in section number `index`, if one does."""
    where = f"[{index}] {elf.sections[index].name}"
    for symbol in elf.symbols:
        inside = symbol.value <= place < symbol.value + symbol.size
        if symbol.section == where and inside and symbol.info & 15 == 2:
            return f", in {symbol.name}+{place - symbol.value:#x}"
    return ""


def _relocation_text(relocation: Relocation, elf: Elf) -> str:
    symbol = elf.symbols[relocation.symbol]
    kind = _RELOCATIONS.get(relocation.type, str(relocation.type))
    name = symbol.name or symbol.section
    return f"{relocation.offset:#x} {kind} {name}{relocation.addend:+#x}"


def _compare_relocations(
    where: str, a: Section, b: Section, ours: Elf, theirs: Elf, found: list[str]
) -> None:
    left, right = relocations(a), relocations(b)
    if len(left) != len(right):
        found.append(f"{where}: got {len(left)} relocations, want {len(right)}")
    different = [(x, y) for x, y in zip(left, right, strict=False) if x != y]
    for x, y in different[:3]:
        found.append(
            f"{where}: got {_relocation_text(x, ours)}, want {_relocation_text(y, theirs)}"
        )
    if len(different) > 3:
        found.append(f"{where}: and {len(different) - 3} relocations more")
