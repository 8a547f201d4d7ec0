"""A relocatable object as the verifier sees it.

Headers, symbols and relocations are arrays of fixed records (gABI, "ELF Header", "Section Header",
"Symbol Table" and "Relocation"), unpacked as such.
"""

from __future__ import annotations

import functools
import operator
import struct
from typing import Any, NamedTuple

from nopfix.verifier import compressed
from nopfix.verifier.reader import Malformed
from nopfix.verifier.report import one_line

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS = 1, 2, 3, 4, 8
SHT_REL, SHT_GROUP, SHT_SYMTAB_SHNDX = 9, 17, 18
SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 0x2, 0x4, 0x800
SHN_LORESERVE, SHN_ABS, SHN_XINDEX = 0xFF00, 0xFFF1, 0xFFFF
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 0, 1, 2, 3, 4
FUNCTIONS = (STT_FUNC, 10)
"""Functions, and those that say which function is one (STT_GNU_IFUNC)."""
EM_PPC64 = 21
ET_REL, ET_EXEC, ET_DYN = 1, 2, 3

_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QIIq")


class Unreadable(Exception):
    """The bytes are not an object that this program can read; the text says why."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class Symbol(NamedTuple):
    """A symbol table entry (gABI, "Symbol Table"); `section` is the real index or a SHN_*."""

    name: str
    value: int
    size: int
    type: int
    info: int
    other: int
    section: int
    """Index of the section it is defined in; 0 for undefined, above `1 << 32` for reserved."""

    @property
    def local_entry(self) -> int:
        """Bytes from a function's global entry to its local one (ELFv2 ABI, 3.4.1, st_other)."""
        code = self.other >> 5
        return 1 << code & ~3 if code < 7 else 0


RESERVED = 1 << 32
"""Added to reserved section indices (SHN_ABS, ...) so that they never look like a section."""


class Relocation(NamedTuple):
    """A relocation with addend: `place` is the offset in the section that it patches."""

    place: int
    type: int
    symbol: int
    addend: int


_relocation = functools.partial(tuple.__new__, Relocation)
"""A Relocation of a record: what Relocation._make does."""


class Section(NamedTuple):
    """A section header with the section's bytes, decompressed when SHF_COMPRESSED."""

    number: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    """sh_size as the header gives it (bytes)."""
    link: int
    info: int
    alignment: int
    entry_size: int
    data: bytes
    """Contents; of relocations none, which are read once, from the file."""
    compression: tuple[int, int, int] | None
    """ch_type, ch_reserved and ch_addralign of a compressed section."""

    @property
    def executable(self) -> bool:
        """True for PROGBITS with SHF_EXECINSTR: code."""
        return bool(self.flags & SHF_EXECINSTR) and self.type == SHT_PROGBITS

    @property
    def length(self) -> int:
        """Size of the contents in bytes, after decompression."""
        return len(self.data) if self.compression else self.size


class Object(NamedTuple):
    """A whole relocatable object."""

    raw: bytes
    header: tuple[tuple[str, object], ...]
    """ELF header fields except e_shoff."""
    section_headers: int
    """e_shoff"""
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    places: tuple[tuple[int, int], ...]
    """Section and value of each symbol of this object, 0 and 0 for all others."""
    relocations: dict[int, tuple[Relocation, ...]]
    """By index of the section they patch, in the order of the file."""

    def target(self, relocation: Relocation) -> tuple[int, int]:
        """Where S + A points: section index (0 when not in this object) and offset (bytes)."""
        section, value = self.places[relocation.symbol]
        return section, value + relocation.addend

    def symbol_name(self, index: int) -> str:
        """Name to print for a symbol: its own, or that of its section."""
        symbol = self.symbols[index]
        if symbol.type == STT_SECTION and 0 < symbol.section < len(self.sections):
            return self.sections[symbol.section].name
        return symbol.name or f"symbol {index}"


def read(data: bytes, like: Object | None = None) -> Object:
    """Decode an object from its bytes; what it has in common with `like` is kept once.

    Raises Unreadable when it is not a 64-bit little-endian PowerPC relocatable object, or is
    truncated or inconsistent.
    """
    try:
        return _read(data, like)
    except Unreadable:
        raise
    except (LookupError, ValueError, OverflowError, struct.error) as e:
        raise Unreadable(f"not a readable ELF object: {type(e).__name__}: {e}") from None


class Linked(NamedTuple):
    """What a finished module or a kernel has, as far as the kernel's loader asks."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    tables: dict[int, tuple[Relocation, ...]]
    """By index of the table, of which several may patch one section (.rela.toc, .klp.rela...toc).
    """


def read_module(data: bytes) -> Linked:
    """Decode a module (.ko).  Raises Unreadable."""
    try:
        sections = _sections(_header(data, ET_REL), data)
        symbols = _symbols(sections)
        tables = {s.number: _relocations(s, data) for s in sections if s.type == SHT_RELA}
    except Unreadable:
        raise
    except (IndexError, ValueError, OverflowError, struct.error) as e:
        raise Unreadable(f"not a readable module: {type(e).__name__}: {e}") from None
    for number, table in tables.items():
        if max(map(operator.itemgetter(2), table), default=-1) >= len(symbols):
            raise Unreadable(f"{sections[number].name}: symbol index out of range")
        if sections[number].info >= len(sections):
            raise Unreadable(f"{sections[number].name}: bad sh_info {sections[number].info}")
    return Linked(sections, symbols, tables)


def read_symbols(data: bytes) -> tuple[Symbol, ...]:
    """The symbols of a kernel (vmlinux), which may be large; nothing else of it is looked at.

    Raises Unreadable.
    """
    try:
        rows, _ = _rows(_header(data, ET_EXEC, ET_DYN), data)
        sections = [
            _section(index, row, b"\0", data, compressed.Opener(0))
            if row[1] in (SHT_SYMTAB, SHT_STRTAB)
            else Section(index, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, b"", None)
            for index, row in enumerate((0, *row[1:]) for row in rows)
        ]
        return _symbols(tuple(sections))
    except Unreadable:
        raise
    except (IndexError, ValueError, OverflowError, struct.error) as e:
        raise Unreadable(f"not a readable kernel: {type(e).__name__}: {e}") from None


_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_EHDR_FIELDS = (
    *("e_ident", "e_type", "e_machine", "e_version", "e_entry", "e_phoff", "e_shoff", "e_flags"),
    *("e_ehsize", "e_phentsize", "e_phnum", "e_shentsize", "e_shnum", "e_shstrndx"),
)
_SHDR = struct.Struct("<IIQQQQIIQQ")
_IDENT = b"\x7fELF\x02\x01\x01"
"""ELFMAG, ELFCLASS64, ELFDATA2LSB, EV_CURRENT"""


def _header(data: bytes, *types: int) -> dict[str, Any]:
    """The fields of the ELF header of a file that is of one of these types."""
    if len(data) < _EHDR.size or data[:7] != _IDENT:
        raise Unreadable("not a 64-bit little-endian ELF object")
    header = dict(zip(_EHDR_FIELDS, _EHDR.unpack_from(data), strict=True))
    if header["e_machine"] != EM_PPC64:
        raise Unreadable("not a 64-bit little-endian PowerPC object")
    if header["e_type"] not in types:
        raise Unreadable(
            "not a relocatable object" if ET_REL in types else "not a linked kernel (vmlinux)"
        )
    return header


def _relocations(
    section: Section, data: bytes, like: Object | None = None
) -> tuple[Relocation, ...]:
    """The records of a section of relocations in a file of bytes `data`."""
    if section.flags & SHF_COMPRESSED:
        raise Unreadable(f"{section.name}: compressed relocations")
    # Without a step of Python's for each of what are most records of an object.
    table = memoryview(data)[section.offset : section.offset + section.size]
    records = _RELA.iter_unpack(table)
    twins = like.relocations.get(section.info, ()) if like is not None else ()
    if like is None or len(twins) * _RELA.size != section.size:
        # A number of a symbol that many name is kept once: a twentieth of a verification's memory.
        once = _Numbers().__getitem__
        return tuple([_relocation((at, kind, once(to), added)) for at, kind, to, added in records])
    # Most are the same in OUT: a sixth of a verification's memory.
    pairs = zip(records, twins, strict=True)
    return tuple([twin if twin == record else _changed(twin, record) for record, twin in pairs])


class _Numbers(dict[int, int]):
    """Numbers, each as the one object that was asked for first."""

    def __missing__(self, number: int) -> int:
        self[number] = number
        return number


def _changed(twin: Relocation, record: tuple[int, ...]) -> Relocation:
    """The relocation of a record, with the numbers of its twin where they are the same."""
    return _relocation([a if a == b else b for a, b in zip(twin, record, strict=True)])


def _read(data: bytes, like: Object | None) -> Object:
    header = _header(data, ET_REL)
    fields = tuple((name, value) for name, value in header.items() if name != "e_shoff")
    sections = _sections(header, data)
    symbols = _symbols(sections)
    relocations: dict[int, tuple[Relocation, ...]] = {}
    for section in sections:
        if section.type != SHT_RELA:
            continue
        if section.info in relocations or section.info >= len(sections):
            raise Unreadable(f"{section.name}: bad or doubled sh_info {section.info}")
        entries = _relocations(section, data, like)
        if max(map(operator.itemgetter(2), entries), default=-1) >= len(symbols):
            raise Unreadable(f"{section.name}: symbol index out of range")
        if max(map(operator.itemgetter(0), entries), default=0) > sections[section.info].length:
            raise Unreadable(f"{section.name}: a relocation behind the end of its section")
        relocations[section.info] = entries
    places = tuple((s.section, s.value) if 0 < s.section < RESERVED else (0, 0) for s in symbols)
    return Object(data, fields, header["e_shoff"], sections, symbols, places, relocations)


def _sections(header: dict[str, Any], data: bytes) -> tuple[Section, ...]:
    """Every section, with its contents."""
    rows, names = _rows(header, data)
    if sum(row[5] for row in rows if row[1] not in (0, SHT_NOBITS)) > len(data):
        raise Unreadable("sections overlap, or reach beyond the end of the file")
    opener = compressed.Opener(len(data))
    return tuple(_section(index, row, names, data, opener) for index, row in enumerate(rows))


def _rows(header: dict[str, Any], data: bytes) -> tuple[list[tuple[int, ...]], bytes]:
    """Every section header (gABI, "Section Header"), with the extended numbering in the first; and
    the string table of their names.
    """
    base, stride = header["e_shoff"], header["e_shentsize"]
    if not base:
        return [], b""
    if stride != _SHDR.size:
        raise Unreadable(f"section headers of {stride} bytes")
    first = _SHDR.unpack_from(data, base)
    count = header["e_shnum"] or first[5]
    strings = header["e_shstrndx"] if header["e_shstrndx"] != SHN_XINDEX else first[6]
    if base + count * stride > len(data):
        raise Unreadable("section headers reach beyond the end of the file")
    rows = list(_SHDR.iter_unpack(data[base : base + count * stride]))
    return rows, data[rows[strings][4] : rows[strings][4] + rows[strings][5]]


def _section(
    index: int, row: tuple[int, ...], names: bytes, data: bytes, opener: compressed.Opener
) -> Section:
    start, kind, flags, address, offset, size, link, info, alignment, entry_size = row
    stored = kind not in (0, SHT_NOBITS)
    contents = data[offset : offset + size] if stored and kind != SHT_RELA else b""
    if stored and offset + size > len(data):
        raise Unreadable(f"section {index} reaches beyond the end of the file")
    name = names[start : names.index(b"\0", start)].decode("utf-8", "surrogateescape")
    compression: tuple[int, int, int] | None = None
    try:
        if flags & SHF_COMPRESSED and kind != SHT_RELA:
            contents, compression = opener.open(contents)
        elif name.startswith(".zdebug_") and contents.startswith(b"ZLIB"):
            contents, compression = opener.open_legacy(contents)
            name = ".debug_" + name.removeprefix(".zdebug_")
    except Malformed as error:
        raise Unreadable(f"{name}: {error}") from None
    return Section(
        *(index, name, kind, flags, address, offset, size),
        *(link, info, alignment, entry_size, contents, compression),
    )


def _symbols(sections: tuple[Section, ...]) -> tuple[Symbol, ...]:
    """The symbol table, with SHN_XINDEX resolved through SHT_SYMTAB_SHNDX."""
    table = next((section for section in sections if section.type == SHT_SYMTAB), None)
    if table is None:
        return ()
    strings = sections[table.link].data
    extended: tuple[int, ...] = ()
    for section in sections:
        if section.type == SHT_SYMTAB_SHNDX and section.link == table.number:
            extended = struct.unpack(f"<{len(section.data) // 4}I", section.data)
    symbols = []
    for index, record in enumerate(_SYMBOL.iter_unpack(table.data)):
        name, info, other, where, value, size = record
        if where == SHN_XINDEX:
            where = extended[index]
        elif where >= SHN_LORESERVE:
            where += RESERVED
        if len(sections) <= where < RESERVED:
            raise Unreadable(f"symbol {index} is in a section that isn't there")
        text = strings[name : strings.index(b"\0", name)].decode("utf-8", "surrogateescape")
        symbols.append(Symbol(text, value, size, info & 15, info, other, where))
    return tuple(symbols)
