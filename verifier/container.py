"""The ELF container: header, section headers, the bytes between sections, symbols.

OUT has IN's sections under the same indices, and of each header only sh_offset and, where the
section grew or shrank, sh_size may differ. A debug section is compressed only where that makes it
smaller, so one that grew may also be plain now, or compressed. What lies between sections is zero.
Symbols keep their indices; value and size follow the section that they are defined in.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from nopfix.verifier.elf import (
    ELFCOMPRESS_ZLIB,
    RESERVED,
    SHF_COMPRESSED,
    SHT_NOBITS,
    SHT_SYMTAB,
    STT_SECTION,
    Object,
    Section,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.verifier.pairing import AnyPairing
    from nopfix.verifier.report import Findings

_HEADER_FIELDS = (
    ("name", "sh_name"),
    ("type", "sh_type"),
    ("flags", "sh_flags"),
    ("address", "sh_addr"),
    ("link", "sh_link"),
    ("info", "sh_info"),
    ("alignment", "sh_addralign"),
    ("entry_size", "sh_entsize"),
)


def check_headers(old: Object, new: Object, findings: Findings) -> bool:
    """Compare everything but contents. False when the sections can't be compared one by one."""
    if old.raw[:16] != new.raw[:16]:
        findings.differ("elf-header", "ELF header", 0, 0, "e_ident differs")
    for (name, before), (_, after) in zip(old.header, new.header, strict=True):
        if before != after:
            findings.differ("elf-header", "ELF header", None, None, f"{name}: {before} != {after}")
    if len(old.sections) != len(new.sections):
        findings.differ(
            "sections",
            "section headers",
            None,
            None,
            f"IN has {len(old.sections)} sections, OUT has {len(new.sections)}",
        )
        return False
    same = True
    for original, after in zip(old.sections, new.sections, strict=True):
        before = _in_form_of(original, after, old)
        for field, title in _HEADER_FIELDS:
            if getattr(before, field) != getattr(after, field):
                same = False
                findings.differ(
                    "section-header",
                    before.name or f"section {before.number}",
                    None,
                    None,
                    f"{title} is {getattr(before, field)} in IN, {getattr(after, field)} in OUT",
                )
        if _name_field(old, before.number) != _name_field(new, after.number):
            findings.differ(
                "section-header", before.name or f"section {before.number}", None, None,
                "sh_name differs",
            )  # fmt: skip
        if before.compression != after.compression:
            same = False
            findings.differ(
                "section-header",
                before.name,
                None,
                None,
                "ch_type, ch_reserved, ch_addralign are"
                f" {before.compression} in IN, {after.compression} in OUT",
            )
    check_file_layout(old, new, findings)
    findings.count("section header", len(old.sections))
    return same


def _in_form_of(before: Section, after: Section, old: Object) -> Section:
    """IN's header of a section as it must be in OUT, should the section change its form there.

    The gABI's section "Compression": sh_addralign becomes ch_addralign, and the header's own
    alignment is 8. `before` itself where the form is the same or must not change.
    """
    if not (before.flags ^ after.flags) & SHF_COMPRESSED or not before.name.startswith(".debug_"):
        return before
    flags = before.flags ^ SHF_COMPRESSED
    if before.compression is not None:
        kind, _, alignment = before.compression
        pays = 24 + len(zlib.compress(after.data)) < len(after.data)
        if kind == ELFCOMPRESS_ZLIB and pays:
            return before
        return before._replace(flags=flags, alignment=alignment, compression=None)
    kinds = {s.compression[0] for s in old.sections if s.compression is not None}
    if len(kinds) != 1 or after.size >= len(after.data):
        return before
    compression = (kinds.pop(), 0, before.alignment)
    return before._replace(flags=flags, alignment=8, compression=compression)


def _name_field(obj: Object, number: int) -> bytes:
    """The bytes of a section's sh_name: a name may be written twice in the string table, so equal
    names don't make equal fields.
    """
    at = obj.section_headers + 64 * number
    return obj.raw[at : at + 4]


def check_file_layout(old: Object, new: Object, findings: Findings) -> None:
    """OUT's sections lie in IN's order, aligned, without overlap, with only zeros in between."""
    if new.sections and new.sections[0] != old.sections[0]:
        findings.differ("section-header", "section 0", None, None, "is not as in IN")
    stored = [section for section in old.sections if _stored(section)]
    stored.sort(key=lambda section: section.offset)
    at = 0
    for section in stored:
        offset = new.sections[section.number].offset
        if offset < at or offset > len(new.raw):
            findings.differ(
                "file-layout", section.name, None, None, f"sh_offset {offset:#x} is out of order"
            )
        at = max(at, offset + _stored(new.sections[section.number]))
    for section in old.sections[1:]:
        if section.type and not _stored(section):
            check_unstored(section, stored, new, findings)
    used = [(0, 64), (new.section_headers, new.section_headers + 64 * len(new.sections))]
    for section in new.sections:
        if section.type in (0, SHT_NOBITS) or not section.size:
            continue
        used.append((section.offset, section.offset + section.size))
        before = old.sections[section.number]
        # LLVM doesn't align what it compresses.
        was_aligned = section.alignment < 2 or before.offset % section.alignment == 0
        if section.alignment > 1 and section.offset % section.alignment and was_aligned:
            findings.differ(
                "file-layout", section.name, None, None, f"sh_offset {section.offset:#x} unaligned"
            )
    at = 0
    for start, end in sorted(used):
        if start < at:
            findings.differ(
                "file-layout", "file", None, start, f"contents overlap at {start:#x} of OUT"
            )
        elif any(new.raw[at:start]):
            findings.differ(
                "file-layout", "file", None, at, f"bytes that no section holds at {at:#x} of OUT"
            )
        at = max(at, end)
    if any(new.raw[at:]):
        findings.differ(
            "file-layout", "file", None, at, f"bytes that no section holds at {at:#x} of OUT"
        )


def check_unstored(
    section: Section, stored: list[Section], new: Object, findings: Findings
) -> None:
    """A section without bytes in the file lies between the same two others as in IN."""
    low, high = 64, len(new.raw)
    for other in stored:
        counterpart = new.sections[other.number]
        if other.offset + other.size <= section.offset:
            low = max(low, counterpart.offset + counterpart.size)
        elif other.offset >= section.offset:
            high = min(high, counterpart.offset)
    offset = new.sections[section.number].offset
    if not low <= offset <= high:
        findings.differ(
            "file-layout", section.name, None, None, f"sh_offset {offset:#x} is out of place"
        )


def _stored(section: Section) -> int:
    """Bytes that the section takes in the file."""
    return 0 if section.type in (0, SHT_NOBITS) else section.size


def check_symbol_records(old: Object, new: Object, findings: Findings) -> None:
    """The first eight bytes of a record (st_name, st_info, st_other, st_shndx) are equal."""
    for section in old.sections:
        if section.type != SHT_SYMTAB:
            continue
        after = new.sections[section.number].data
        for record in range(0, len(section.data), 24):
            if section.data[record : record + 8] != after[record : record + 8]:
                findings.differ(
                    "symbol", section.name, record, record, "name, type, binding or section differ"
                )


def check_symbols(
    old: Object, new: Object, pairings: Mapping[int, AnyPairing], findings: Findings
) -> None:
    """Symbols have the same names and follow their section."""
    if len(old.symbols) != len(new.symbols):
        findings.differ(
            "symbol",
            ".symtab",
            None,
            None,
            f"IN has {len(old.symbols)} symbols, OUT has {len(new.symbols)}",
        )
        return
    findings.count("symbol", len(old.symbols))
    check_symbol_records(old, new, findings)
    for index, (before, after) in enumerate(zip(old.symbols, new.symbols, strict=True)):
        if before == after and before.section not in pairings:
            continue
        if (before.name, before.info, before.other, before.section) != (
            after.name,
            after.info,
            after.other,
            after.section,
        ):
            findings.differ(
                "symbol",
                ".symtab",
                index,
                index,
                f"symbol {before.name or index}: name, type, binding, visibility or section differ",
            )
            continue
        pairing = pairings.get(before.section)
        value: int | None = before.value
        end: int | None = before.value + before.size
        if pairing and before.type == STT_SECTION:
            end = before.size
        elif pairing and before.section < RESERVED:
            value = pairing.start(before.value)
            end = pairing.end(before.value + before.size) if before.size else value
        name = old.symbol_name(index)
        if value is None or end is None:
            findings.differ(
                "symbol", ".symtab", index, index, f"{name}: its place has no counterpart in OUT"
            )
            continue
        if after.value != value:
            findings.differ(
                "symbol",
                ".symtab",
                index,
                index,
                f"{name} is at {before.value:#x} in IN, so at {value:#x} in OUT, but its value"
                f" is {after.value:#x}",
            )
        elif after.size != end - value:
            findings.differ(
                "symbol",
                ".symtab",
                index,
                index,
                f"{name} has {before.size:#x} bytes in IN, so {end - value:#x} in OUT, but its"
                f" size is {after.size:#x}",
            )


def check_bytes(section: Section, counterpart: Section, findings: Findings) -> None:
    """A section that nothing explains a change of is the same, byte for byte."""
    if section.size != counterpart.size and section.compression is None:
        findings.differ(
            "contents",
            section.name,
            None,
            None,
            f"has {section.size:#x} bytes in IN, {counterpart.size:#x} in OUT",
        )
        return
    findings.count("byte compared", len(section.data))
    if section.data == counterpart.data:
        return
    for offset, (a, b) in enumerate(zip(section.data, counterpart.data, strict=False)):
        if a != b:
            findings.differ(
                "contents",
                section.name,
                offset,
                offset,
                f"IN has byte {a:#04x}, OUT has {b:#04x}",
            )
            return
    findings.differ(
        "contents",
        section.name,
        None,
        None,
        f"has {len(section.data):#x} bytes in IN, {len(counterpart.data):#x} in OUT",
    )
