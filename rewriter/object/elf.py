"""A relocatable object: its sections, symbols and relocations, read once, written once.

The problem: of a 64-bit little-endian relocatable file nopfix changes some sections' bytes, some
symbols and some relocations, and nothing else, so the file has to come back with everything that
isn't understood exactly as it was.  The rule: section indices, names and order never change; only
contents, and therefore file offsets and sizes, do; and the flags and the alignment of a section
that is no longer compressed, or is now.

Everything is read as columns (`memoryview` casts of the file's own bytes), because an object has
tens of thousands of relocations and most of them are never looked at one by one.

Source: System V gABI, chapters 4 and 5 (ELF header, sections, symbol table, relocation), with the
extensions for more than 65,279 sections (SHN_XINDEX, SHT_SYMTAB_SHNDX); 64-bit ELFv2 ABI, 3.1.
"""

from __future__ import annotations

import struct
import sys
from array import array

from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record
from nopfix.rewriter.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ET_REL = 1
EM_PPC64 = 21

SHT_NULL = 0
SHT_PROGBITS = 1
SHT_SYMTAB = 2
SHT_STRTAB = 3
SHT_RELA = 4
SHT_NOTE = 7
SHT_NOBITS = 8
SHT_GROUP = 17
SHT_SYMTAB_SHNDX = 18

SHF_ALLOC = 0x2
SHF_EXECINSTR = 0x4
SHF_INFO_LINK = 0x40
SHF_LINK_ORDER = 0x80
SHF_COMPRESSED = 0x800

SHN_UNDEF = 0
SHN_LORESERVE = 0xFF00
SHN_XINDEX = 0xFFFF
SHN_ABS = 0xFFF1 - 0x10000
"""As `Symbols.sections` has it."""

STB_LOCAL = 0

STT_NOTYPE = 0
STT_OBJECT = 1
STT_FUNC = 2
STT_SECTION = 3
STT_FILE = 4
STT_TLS = 6
STT_GNU_IFUNC = 10
FUNCTIONS = (STT_FUNC, STT_GNU_IFUNC)
"""The types of symbols at which functions begin."""

_FILE_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_WORD = 8
_UNLIMITED = 1 << 63
GNU_PREFIX = ".zdebug_"
"""How the names of compressed sections began before there was SHF_COMPRESSED."""
SYMBOL_SIZE = 24
RELA_SIZE = 24

_OTHER_RELOCATIONS = {
    9: "SHT_REL",
    19: "SHT_RELR",
    0x40000014: "SHT_CREL",
    0x60000001: "SHT_ANDROID_REL",
    0x60000002: "SHT_ANDROID_RELA",
    0x6FFFFF00: "SHT_ANDROID_RELR",
}
"""Relocations that the ABI doesn't use; LLVM writes SHT_CREL when told to (-Wa,--crel)."""

_RELA_ONLY = "the ABI uses SHT_RELA; build the object without -Wa,--crel and the like"
_NOT_OURS = "nopfix rewrites relocatable 64-bit little-endian PowerPC objects (ELFv2) only"
_BROKEN = "the file is truncated or inconsistent; build it again"


class Section(Record):
    """A section header, with its number (its index in the table) and its name looked up.

    Offsets and sizes are in bytes.
    """

    number: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int

    @property
    def is_compressed(self) -> bool:
        """True when the section's bytes in the file aren't what its relocations go by."""
        return bool(self.flags & SHF_COMPRESSED) or self.name.startswith(GNU_PREFIX)

    @property
    def plain_name(self) -> str:
        """The section's name as DWARF has it: ``.zdebug_info`` is ``.debug_info``."""
        if self.name.startswith(GNU_PREFIX):
            return ".debug_" + self.name[len(GNU_PREFIX) :]
        return self.name


NO_HEADERS: Mapping[int, Section] = {}


class Symbols(Record):
    """The symbol table as columns, one element a symbol.

    ``sections`` holds real section indices (SHN_XINDEX resolved); the reserved ones (SHN_ABS,
    SHN_COMMON, ...) are negative, so they can't be taken for the index of a section.
    """

    names: Sequence[int]
    infos: Sequence[int]
    others: Sequence[int]
    sections: Sequence[int]
    values: Sequence[int]
    sizes: Sequence[int]
    strings: bytes

    def name(self, index: int) -> str:
        """The name of symbol ``index``; bytes that aren't UTF-8 survive as surrogates."""
        start = self.names[index]
        end = self.strings.find(b"\0", start)
        return self.strings[start:end].decode("utf-8", "surrogateescape")

    def type(self, index: int) -> int:
        """The symbol's STT_* type."""
        return self.infos[index] & 15

    def local_entry(self, index: int) -> int:
        """Bytes from the global to the local entry point (ELFv2 ABI 3.4.1: st_other, top bits)."""
        return ((1 << (self.others[index] >> 5)) >> 2) << 2


class Relocations(Record):
    """One SHT_RELA section as columns, in file order.

    ``section`` is the index of the section that the relocations apply to, ``table`` that of the
    relocation section itself.  ``places`` are section offsets in bytes.
    """

    table: int
    section: int
    places: array[int]
    types: array[int]
    symbols: array[int]
    addends: array[int]


class Object(Record):
    """A relocatable object as read.

    ``relocations`` is indexed by the section that they apply to.  ``symbol_table`` is the index of
    the SHT_SYMTAB section, 0 when there is none.
    """

    data: memoryview
    sections: Sequence[Section]
    symbol_table: int
    symbols: Symbols
    relocations: Mapping[int, Relocations]

    def contents(self, index: int) -> memoryview:
        """The bytes of section ``index`` as they lie in the file; empty for SHT_NOBITS."""
        section = self.sections[index]
        if section.type in (SHT_NOBITS, SHT_NULL):
            return self.data[:0]
        return self.data[section.offset : section.offset + section.size]


def column(
    data: bytes | memoryview,
    typecode: Literal["B", "H", "I", "Q", "b", "h", "i", "q"],
    first: int = 0,
    step: int = 1,
) -> array[int]:
    """Every ``step``-th little-endian number of ``data``, starting with element ``first``.

    ``typecode`` is that of the `array` module; ``data`` has to hold whole elements.
    """
    # Copying all and slicing the array takes a fifth of what filling it from a strided view takes.
    result = array(typecode)
    result.frombytes(data)
    if first or step > 1:
        result = result[first::step]
    if sys.byteorder == "big":
        result.byteswap()
    return result


def little_endian(numbers: array[int]) -> bytes:
    """The bytes that `column` reads ``numbers`` from."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def read(data: bytes | memoryview) -> Object:
    """Read the relocatable object ``data``.

    Raises `Refusal` when it is something else, truncated, or contradicts itself.
    """
    view = memoryview(data).toreadonly()
    sections = _read_sections(view)
    symbol_table, symbols = _read_symbols(view, sections)
    relocations = _read_relocations(view, sections, symbol_table, len(symbols.names))
    return Object(view, sections, symbol_table, symbols, relocations)


def is_elf(data: bytes | memoryview) -> bool:
    """True when ``data`` begins with the ELF magic number."""
    return bytes(data[:4]) == b"\x7fELF"


def _read_sections(data: memoryview) -> list[Section]:
    if len(data) < _FILE_HEADER.size or not is_elf(data):
        raise Refusal("not an ELF file", remedy=_NOT_OURS)
    header = _FILE_HEADER.unpack_from(data)
    ident, kind, machine, _, _, _, table, flags, _, _, _, entry, count, names_index = header
    if ident[4] != 2 or ident[5] != 1 or machine != EM_PPC64:
        raise Refusal(
            f"ELF class {ident[4]}, data encoding {ident[5]}, machine {machine}", remedy=_NOT_OURS
        )
    if kind != ET_REL:
        raise Refusal(f"ELF file type {kind} is not ET_REL", remedy=_NOT_OURS)
    if flags & 3 == 1:
        raise Refusal("ELFv1 object (function descriptors)", remedy=_NOT_OURS)
    if entry != _SECTION_HEADER.size or table + entry > len(data) or not table:
        raise Refusal("no section header table inside the file", remedy=_BROKEN)
    first = _SECTION_HEADER.unpack_from(data, table)
    # gABI 4: with too many sections the real numbers are in the first header.
    count = count or first[5]
    if names_index == SHN_XINDEX:
        names_index = first[6]
    if count * entry > len(data) - table or names_index >= count:
        raise Refusal(f"section header table of {count} entries", remedy=_BROKEN)
    raw = list(_SECTION_HEADER.iter_unpack(data[table : table + count * entry]))
    for index, fields in enumerate(raw):
        if index and fields[1] not in (SHT_NOBITS, SHT_NULL) and fields[4] + fields[5] > len(data):
            raise Refusal(f"section {index} lies outside the file", remedy=_BROKEN)
        # gABI 4: what is loaded can't be compressed.
        if fields[2] & SHF_COMPRESSED and fields[2] & (SHF_ALLOC | SHF_EXECINSTR):
            raise Refusal(f"section {index} is compressed and loaded", remedy=_BROKEN)
    if raw[names_index][1] == SHT_NOBITS:
        raise Refusal("the section name table has no contents", remedy=_BROKEN)
    strings = bytes(data[raw[names_index][4] :][: raw[names_index][5]])
    if strings[-1:] != b"\0":
        raise Refusal("the section name table isn't terminated", remedy=_BROKEN)
    sections = []
    for index, fields in enumerate(raw):
        name = fields[0]
        if name >= len(strings):
            raise Refusal(f"the name of section {index} lies outside its table", remedy=_BROKEN)
        text = strings[name : strings.index(b"\0", name)].decode("utf-8", "surrogateescape")
        sections.append(Section(index, text, *fields[1:]))
    # ELFv1 objects that don't say so in e_flags have function descriptors.
    if any(section.name == ".opd" for section in sections):
        raise Refusal("function descriptors", section=".opd", remedy=_NOT_OURS)
    return sections


def _read_symbols(data: memoryview, sections: list[Section]) -> tuple[int, Symbols]:
    tables = [section for section in sections if section.type == SHT_SYMTAB]
    if not tables:
        return 0, Symbols((), (), (), (), (), (), b"\0")
    table = tables[0]
    if len(tables) > 1 or table.entry_size != SYMBOL_SIZE or table.size % SYMBOL_SIZE:
        raise Refusal("malformed symbol table", section=table.name, remedy=_BROKEN)
    if not 0 < table.link < len(sections) or sections[table.link].type != SHT_STRTAB:
        raise Refusal("the symbol table names no string table", section=table.name, remedy=_BROKEN)
    raw = data[table.offset : table.offset + table.size]
    link = sections[table.link]
    strings = bytes(data[link.offset : link.offset + link.size])
    if strings[-1:] != b"\0":
        raise Refusal("string table isn't terminated", section=link.name, remedy=_BROKEN)
    names = column(raw, "I", 0, 6)
    if names and max(names) >= len(strings):
        raise Refusal("a name lies outside the string table", section=table.name, remedy=_BROKEN)
    symbols = Symbols(
        names,
        column(raw, "B", 4, 24),
        column(raw, "B", 5, 24),
        _section_indices(data, sections, table, column(raw, "H", 3, 12)),
        column(raw, "Q", 1, 3),
        column(raw, "Q", 2, 3),
        strings,
    )
    return table.number, symbols


def _section_indices(
    data: memoryview, sections: list[Section], table: Section, short: array[int]
) -> list[int]:
    """st_shndx of every symbol, with SHN_XINDEX looked up and the reserved values made negative."""
    indices = [index if index < SHN_LORESERVE else index - 0x10000 for index in short]
    if -1 in indices:
        wide = [s for s in sections if s.type == SHT_SYMTAB_SHNDX and s.link == table.number]
        if len(wide) != 1 or wide[0].size != 4 * len(indices):
            raise Refusal("SHN_XINDEX without its table", section=table.name, remedy=_BROKEN)
        long = column(data[wide[0].offset : wide[0].offset + wide[0].size], "I")
        indices = [long[i] if index == -1 else index for i, index in enumerate(indices)]
    if indices and max(indices) >= len(sections):
        raise Refusal("a symbol names no section", section=table.name, remedy=_BROKEN)
    return indices


def _read_relocations(
    data: memoryview, sections: list[Section], symbol_table: int, symbol_count: int
) -> dict[int, Relocations]:
    found: dict[int, Relocations] = {}
    for section in sections:
        if section.type in _OTHER_RELOCATIONS:
            raise Refusal(
                f"relocations in the form {_OTHER_RELOCATIONS[section.type]}",
                section=section.name,
                remedy=_RELA_ONLY,
            )
        if section.type != SHT_RELA:
            continue
        if (
            section.entry_size != RELA_SIZE
            or section.size % RELA_SIZE
            or section.link != symbol_table
            or not 0 < section.info < len(sections)
            or section.info in found
        ):
            raise Refusal("malformed relocation section", section=section.name, remedy=_BROKEN)
        raw = data[section.offset : section.offset + section.size]
        relocations = Relocations(
            section.number,
            section.info,
            column(raw, "Q", 0, 3),
            column(raw, "I", 2, 6),
            column(raw, "I", 3, 6),
            column(raw, "q", 2, 3),
        )
        if relocations.symbols and max(relocations.symbols) >= max(symbol_count, 1):
            raise Refusal("a relocation names no symbol", section=section.name, remedy=_BROKEN)
        # A compressed section's places count from its decompressed start.
        target = sections[section.info]
        packed = target.flags & SHF_COMPRESSED or (
            target.name.startswith(GNU_PREFIX) and not target.flags & (SHF_ALLOC | SHF_EXECINSTR)
        )
        if relocations.places and max(relocations.places) >= target.size and not packed:
            raise Refusal("a place lies outside its section", section=section.name, remedy=_BROKEN)
        found[section.info] = relocations
    return found


def write(
    original: Object,
    contents: Mapping[int, bytes | bytearray | memoryview],
    headers: Mapping[int, Section] = NO_HEADERS,
) -> bytes:
    """The object with the sections in ``contents`` (by index) replaced.

    ``headers`` are the sections whose flags or alignment are others now, by index.

    Sections keep their order in the file; each lies at the next offset that its sh_addralign
    allows (or a word's alignment, where IN is laid out so), as the assembler lays them out.  A gap
    that was larger than that stays.

    Raises `Refusal` when sections overlap in the file.
    """
    old = original.data
    header = list(_FILE_HEADER.unpack_from(old))
    table = header[6]
    count = len(original.sections)
    chunks: list[bytes | bytearray | memoryview] = [b"\0" * _FILE_HEADER.size]
    offsets = {}
    old_end = new_end = _FILE_HEADER.size
    most = _most_aligned(original.sections)
    for offset, index in _file_order(original.sections, table):
        section = original.sections[index]
        alignment = (section.alignment or 1) if index else 8
        if alignment & (alignment - 1):
            raise Refusal("alignment isn't a power of two", section=section.name, remedy=_BROKEN)
        empty = index and section.type == SHT_NOBITS
        # What takes no room may claim to lie anywhere, so only its place inside the file counts.
        if empty and not old_end <= offset <= len(old):
            inside = _FILE_HEADER.size <= offset < old_end
            offsets[index] = max(offset + new_end - old_end, 0) if inside else offset
            continue
        if offset < old_end:
            raise Refusal("sections overlap in the file", section=section.name, remedy=_BROKEN)
        alignment = min(alignment, most)
        gap = offset - (-(-old_end // alignment) * alignment)
        if index in headers:
            alignment = min(headers[index].alignment, most)
        # A packed file (gap below zero) is kept packed.
        start = -(-new_end // alignment) * alignment + gap if gap >= 0 else new_end
        data = contents.get(index, old[offset : offset + section.size]) if index else b""
        if empty:
            # Aligned as if it were there (bfd/elf.c), which may push what follows.
            data = b""
        size = len(data) if index else count * _SECTION_HEADER.size
        chunks.append(bytes(start - new_end))
        chunks.append(data)
        offsets[index] = start
        old_end = offset + (size if empty or not index else section.size)
        new_end = start + size
        if not index:
            table_chunk = len(chunks) - 1
    header[6] = offsets[0]
    chunks[0] = _FILE_HEADER.pack(*header)
    chunks[table_chunk] = _section_headers(original, contents, headers, offsets)
    return b"".join(chunks)


def _most_aligned(sections: Sequence[Section]) -> int:
    """How far offsets in the file are aligned at most, whatever sh_addralign says, in bytes.

    binutils up to 2.43, LLVM and the linkers align them as sh_addralign says; binutils from 2.44 on
    goes no further than to a word, which shows where a section happens not to lie at more.
    """
    aligned = [s for s in sections[1:] if s.alignment > _WORD]
    further = not any(s.offset % s.alignment for s in aligned)
    return _UNLIMITED if further or any(s.offset % _WORD for s in aligned) else _WORD


def _file_order(sections: Sequence[Section], table: int) -> list[tuple[int, int]]:
    """Offset and number of each section, in the order in which they lie in the file.

    The header table, at ``table``, takes part in the layout as section 0.  What takes no room lies
    in front of what begins at the same offset.
    """
    items = [
        (s.offset, s.type != SHT_NOBITS and s.size > 0, s.number) for s in sections[1:] if s.type
    ]
    items.append((table, True, 0))
    items.sort()
    return [(offset, number) for offset, _, number in items]


def _section_headers(
    original: Object,
    contents: Mapping[int, bytes | bytearray | memoryview],
    changed: Mapping[int, Section],
    offsets: Mapping[int, int],
) -> bytes:
    old = original.data
    (table,) = struct.unpack_from("<Q", old, 40)
    length = len(original.sections) * _SECTION_HEADER.size
    headers = bytearray(old[table : table + length])
    for section in original.sections[1:]:
        at = section.number * _SECTION_HEADER.size
        if section.type:
            struct.pack_into("<Q", headers, at + 24, offsets[section.number])
        if section.number in contents:
            struct.pack_into("<Q", headers, at + 32, len(contents[section.number]))
        if section.number in changed:
            struct.pack_into("<Q", headers, at + 8, changed[section.number].flags)
            struct.pack_into("<Q", headers, at + 48, changed[section.number].alignment)
    return bytes(headers)
