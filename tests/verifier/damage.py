"""Damage to a rewritten object, one fact at a time: what it says of its code.

Each function takes the object's bytes and yields what was damaged, and a function that makes the
damaged bytes: there are many more mutants than are tried. Bytes are changed in place where that is
possible; only nops that go or come need the file laid out again. Damage that knows nothing of
meaning, but for records and fields, is in damaged_records.py.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Iterator

from elftools.elf.elffile import ELFFile

from nopfix.verifier import elf, power
from nopfix.verifier.fields import prelinked

Made = Callable[[], bytes]
Mutants = Iterator[tuple[str, Made]]
NOP = (0x60000000).to_bytes(4, "little")
MR_R0_R0 = (0x7C000378).to_bytes(4, "little")


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def patch(data: bytes, offset: int, value: bytes) -> Made:
    return functools.partial(patched, data, offset, value)


def _words(section: elf.Section) -> tuple[int, ...]:
    return struct.unpack(f"<{section.size // 4}I", section.data[: section.size // 4 * 4])


def _code(obj: elf.Object) -> Iterator[tuple[elf.Section, int, int]]:
    """(section, offset, word) of every word of code that carries no relocation."""
    for section in obj.sections:
        if not section.executable:
            continue
        places = {relocation.place & ~3 for relocation in obj.relocations.get(section.number, ())}
        for index, word in enumerate(_words(section)):
            if index * 4 not in places:
                yield section, index * 4, word


def _stored(obj: elf.Object, *names: str) -> Iterator[elf.Section]:
    for section in obj.sections:
        if section.name in names and section.size and not section.compression:
            yield section


def branches(data: bytes) -> Mutants:
    for section, offset, word in _code(elf.read(data)):
        if power.is_relative_branch(word):
            for delta in (4, -4):
                other = word & ~0xFFFC | (word + delta) & 0xFFFC
                place = section.offset + offset
                yield (
                    f"branch at {section.name}+{offset:#x} off by {delta}",
                    patch(data, place, other.to_bytes(4, "little")),
                )


def branch_conditions(data: bytes) -> Mutants:
    for section, offset, word in _code(elf.read(data)):
        if word >> 26 == power.B_FORM:
            for bit in (1 << 24, 1 << 16):
                yield (
                    f"condition of the branch at {section.name}+{offset:#x}",
                    patch(data, section.offset + offset, (word ^ bit).to_bytes(4, "little")),
                )


def instructions(data: bytes) -> Mutants:
    for section, offset, word in _code(elf.read(data)):
        if not power.is_relative_branch(word):
            yield (
                f"instruction at {section.name}+{offset:#x}",
                patch(data, section.offset + offset, (word ^ 1 << 17).to_bytes(4, "little")),
            )


def table_entries(data: bytes) -> Mutants:
    for section in elf.read(data).sections:
        if not section.executable:
            continue
        words = _words(section)
        for index, word in enumerate(words[:-1]):
            if word != power.BCTR:
                continue
            for entry in range(index + 1, min(index + 9, len(words))):
                value = words[entry]
                near = value < section.size or value > (1 << 32) - section.size
                if not near:
                    break
                for delta in (4, -4, 8):
                    other = (value + delta) % (1 << 32)
                    yield (
                        f"table entry at {section.name}+{entry * 4:#x} off by {delta}",
                        patch(data, section.offset + entry * 4, other.to_bytes(4, "little")),
                    )


def _relocation_records(data: bytes) -> Iterator[tuple[str, int, int]]:
    """(name, file offset, symbol) of every relocation."""
    obj = elf.read(data)
    for section in obj.sections:
        if section.type == elf.SHT_RELA:
            for number, relocation in enumerate(obj.relocations[section.info]):
                yield section.name, section.offset + 24 * number, relocation.symbol


def addends(data: bytes) -> Mutants:
    for name, record, _ in _relocation_records(data):
        (addend,) = struct.unpack_from("<q", data, record + 16)
        for delta in (4, -4):
            yield (
                f"addend of a relocation in {name} off by {delta}",
                patch(data, record + 16, struct.pack("<q", addend + delta)),
            )


def places(data: bytes) -> Mutants:
    for name, record, _ in _relocation_records(data):
        (place,) = struct.unpack_from("<Q", data, record)
        yield (
            f"place of a relocation in {name}",
            patch(data, record, struct.pack("<Q", place + 4)),
        )


def relocation_types(data: bytes) -> Mutants:
    for name, record, symbol in _relocation_records(data):
        yield f"type of a relocation in {name}", patch(data, record + 8, b"\x02\0\0\0")
        yield (
            f"symbol of a relocation in {name}",
            patch(data, record + 12, (symbol ^ 1).to_bytes(4, "little")),
        )


def _symbol_records(data: bytes) -> Iterator[tuple[elf.Symbol, int]]:
    obj = elf.read(data)
    for section in obj.sections:
        if section.type == elf.SHT_SYMTAB:
            for number, symbol in enumerate(obj.symbols):
                yield symbol, section.offset + 24 * number


def symbol_values(data: bytes) -> Mutants:
    for symbol, record in _symbol_records(data):
        for delta in (4, -4):
            value = struct.pack("<Q", (symbol.value + delta) % (1 << 64))
            yield f"value of {symbol.name} off by {delta}", patch(data, record + 8, value)


def symbol_sizes(data: bytes) -> Mutants:
    for symbol, record in _symbol_records(data):
        for delta in (4, -4):
            value = struct.pack("<Q", (symbol.size + delta) % (1 << 64))
            yield f"size of {symbol.name} off by {delta}", patch(data, record + 16, value)


def fde_lengths(data: bytes) -> Mutants:
    """The field behind an FDE's start: found by the relocation of the start."""
    obj = elf.read(data)
    for section in _stored(obj, ".eh_frame", ".debug_frame"):
        wide = section.name == ".debug_frame"
        for relocation in obj.relocations.get(section.number, ()):
            target, _ = obj.target(relocation)
            if not target or not obj.sections[target].executable:
                continue
            at = section.offset + relocation.place + (8 if wide else 4)
            for delta in (4, -4):
                (length,) = struct.unpack_from("<i", data, at)
                yield (
                    f"length of the FDE around {section.name}+{relocation.place:#x} off by {delta}",
                    patch(data, at, struct.pack("<i", length + delta)),
                )


def cfa_advances(data: bytes) -> Mutants:
    """DW_CFA_advance_loc has the distance in its low six bits."""
    for section in _stored(elf.read(data), ".eh_frame", ".debug_frame"):
        for entry in _frame_instructions(section):
            byte = section.data[entry]
            yield (
                f"CFA advance at {section.name}+{entry:#x}",
                patch(data, section.offset + entry, bytes([byte + 1 if byte < 0x7F else 0x7E])),
            )


def _frame_instructions(section: elf.Section) -> Iterator[int]:
    """Offsets of the DW_CFA_advance_loc that follow an FDE's header directly, or DW_CFA_offset."""
    from elftools.dwarf.callframe import FDE, CallFrameInfo
    from elftools.dwarf.structs import DWARFStructs

    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)
    eh_frame = section.name == ".eh_frame"
    info = CallFrameInfo(io.BytesIO(section.data), section.size, 0, structs, for_eh_frame=eh_frame)
    if not eh_frame:
        return
    for entry in info.get_entries():
        if isinstance(entry, FDE):
            start = entry.offset + 16 + 1 + len(entry.augmentation_bytes)
            if section.data[start] >> 6 == 1:
                yield start


def _attributes(data: bytes, *names: str) -> Iterator[tuple[str, str, int]]:
    """(name, form, offset in .debug_info) of attributes, read by pyelftools."""
    obj = elf.read(data)
    for section in _stored(obj, ".debug_info"):
        # It has no relocations of this processor; several units have an abbreviation table each.
        data = patched(data, section.offset, prelinked(obj, section))
    info = ELFFile(io.BytesIO(data)).get_dwarf_info(relocate_dwarf_sections=False)
    for unit in info.iter_CUs():
        for entry in unit.iter_DIEs():
            for name, value in entry.attributes.items():
                if name in names:
                    yield name, value.form, value.offset


_SIZES = {"DW_FORM_data1": 1, "DW_FORM_data2": 2, "DW_FORM_data4": 4, "DW_FORM_data8": 8}


def high_pcs(data: bytes) -> Mutants:
    obj = elf.read(data)
    for section in _stored(obj, ".debug_info"):
        for name, form, offset in _attributes(data, "DW_AT_high_pc", "DW_AT_entry_pc"):
            if form not in _SIZES:
                continue
            at, size = section.offset + offset, _SIZES[form]
            value = int.from_bytes(data[at : at + size], "little")
            for delta in (4, -4):
                other = ((value + delta) % (1 << 8 * size)).to_bytes(size, "little")
                yield f"{name} at .debug_info+{offset:#x} off by {delta}", patch(data, at, other)


def return_addresses(data: bytes) -> Mutants:
    """DW_AT_call_return_pc, or DW_AT_low_pc of DW_TAG_GNU_call_site: moved behind the slot."""
    obj = elf.read(data)
    for section in _stored(obj, ".debug_info"):
        records = {}
        for rela in obj.sections:
            if rela.type == elf.SHT_RELA and rela.info == section.number:
                for number, relocation in enumerate(obj.relocations[section.number]):
                    records[relocation.place] = (rela.offset + 24 * number, relocation.addend)
        for name, form, offset in _attributes(data, "DW_AT_call_return_pc", "DW_AT_low_pc"):
            if form == "DW_FORM_addr" and offset in records:
                record, addend = records[offset]
                yield (
                    f"{name} at .debug_info+{offset:#x}",
                    patch(data, record + 16, struct.pack("<q", addend + 4)),
                )
            elif form == "DW_FORM_addrx":
                at = section.offset + offset
                yield f"{name} at .debug_info+{offset:#x}", patch(data, at, bytes([data[at] ^ 1]))


def _bytes_of(*names: str) -> Callable[[bytes], Mutants]:
    """Every byte of the named sections, or of those of a .dwo, a bit flipped."""
    all_names = (*names, *(f"{name}.dwo" for name in names))

    def mutate(data: bytes) -> Mutants:
        for section in _stored(elf.read(data), *all_names):
            if section.type in (elf.SHT_NOBITS, elf.SHT_RELA):
                continue
            for offset in range(section.size):
                at = section.offset + offset
                flipped = data[at] ^ (1 << (offset * 5 + 2) % 8)
                yield f"byte {section.name}+{offset:#x}", patch(data, at, bytes([flipped]))

    return mutate


def header_bytes(data: bytes) -> Mutants:
    obj = elf.read(data)
    for offset in range(64):
        yield f"byte {offset} of the ELF header", patch(data, offset, bytes([data[offset] ^ 4]))
    for section in obj.sections[1:]:
        for field, size in (
            (0, 4),
            (4, 4),
            (8, 8),
            (16, 8),
            (32, 8),
            (40, 4),
            (44, 4),
            (48, 8),
            (56, 8),
        ):
            at = obj.section_headers + 64 * section.number + field
            value = int.from_bytes(data[at : at + size], "little") ^ 1
            yield (
                f"section header of {section.name}, field at {field}",
                patch(data, at, value.to_bytes(size, "little")),
            )


# Nops that go or come


def relaid(data: bytes, changed: int, contents: bytes) -> bytes:
    """The object with other contents for one section, laid out again."""
    obj = elf.read(data)
    out = bytearray(data[:64])
    headers = bytearray(data[obj.section_headers : obj.section_headers + 64 * len(obj.sections)])
    for section in sorted(obj.sections, key=lambda s: (s.offset, s.size)):
        if section.type == 0:
            continue
        out += bytes(-len(out) % max(section.alignment, 1))
        stored = data[section.offset : section.offset + section.size]
        if section.type == elf.SHT_NOBITS:
            stored = b""
        size = section.size
        if section.number == changed:
            stored, size = contents, len(contents)
        struct.pack_into("<QQ", headers, 64 * section.number + 24, len(out), size)
        out += stored
    out += bytes(-len(out) % 8)
    struct.pack_into("<Q", out, 40, len(out))
    return bytes(out + headers)


def _inserted(old: bytes, data: bytes) -> Iterator[tuple[elf.Section, int]]:
    """Slots: nops right behind a call."""
    for section in elf.read(data).sections:
        if section.executable:
            words = _words(section)
            for index in range(1, len(words)):
                if words[index] == power.NOP and power.is_call(words[index - 1]):
                    yield section, index * 4


def nops_missing(data: bytes) -> Mutants:
    for section, offset in _inserted(data, data):
        contents = section.data[:offset] + section.data[offset + 4 :]
        yield (
            f"nop at {section.name}+{offset:#x} gone",
            functools.partial(relaid, data, section.number, contents),
        )


def nops_doubled(data: bytes) -> Mutants:
    for section, offset in _inserted(data, data):
        contents = section.data[:offset] + NOP + section.data[offset:]
        yield (
            f"nop at {section.name}+{offset:#x} doubled",
            functools.partial(relaid, data, section.number, contents),
        )


def nops_replaced(data: bytes) -> Mutants:
    for section, offset in _inserted(data, data):
        at = section.offset + offset
        yield f"nop at {section.name}+{offset:#x} is mr r0,r0", patch(data, at, MR_R0_R0)


def nops_late(data: bytes) -> Mutants:
    for section, offset in _inserted(data, data):
        at = section.offset + offset
        following = data[at + 4 : at + 8]
        if following != NOP:
            yield f"nop at {section.name}+{offset:#x} one later", patch(data, at, following + NOP)


KINDS: dict[str, Callable[[bytes], Mutants]] = {
    "branch": branches,
    "branch condition": branch_conditions,
    "instruction": instructions,
    "table entry": table_entries,
    "addend": addends,
    "relocation place": places,
    "relocation type and symbol": relocation_types,
    "symbol value": symbol_values,
    "symbol size": symbol_sizes,
    "FDE length": fde_lengths,
    "CFA advance": cfa_advances,
    "frame byte": _bytes_of(".eh_frame", ".debug_frame"),
    "exception table byte": _bytes_of(".gcc_except_table"),
    "high_pc": high_pcs,
    "return address": return_addresses,
    "line row": _bytes_of(".debug_line"),
    "location list": _bytes_of(".debug_loclists", ".debug_loc"),
    "range list": _bytes_of(".debug_rnglists", ".debug_ranges"),
    "address range": _bytes_of(".debug_aranges", ".debug_addr"),
    "entry": _bytes_of(".debug_info", ".debug_types"),
    "abbreviation or string": _bytes_of(
        ".debug_abbrev", ".debug_str", ".debug_line_str", ".debug_str_offsets"
    ),
    "data": _bytes_of(".data", ".rodata", ".data.rel.ro", ".toc", ".comment", ".rodata.str1.8"),
    "string table": _bytes_of(".strtab", ".shstrtab"),
    "compressed byte": lambda data: _compressed(data),
    "header": header_bytes,
    "nop missing": nops_missing,
    "nop doubled": nops_doubled,
    "nop replaced": nops_replaced,
    "nop late": nops_late,
}


def _compressed(data: bytes) -> Mutants:
    for section in elf.read(data).sections:
        if section.compression:
            for offset in range(0, section.size, 3):
                at = section.offset + offset
                yield (
                    f"byte {section.name}+{offset:#x}",
                    patch(data, at, bytes([data[at] ^ 0x10])),
                )
