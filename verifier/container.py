"""The ELF container: header, section headers, the bytes between sections, symbols.

OUT has IN's sections under the same indices, and of each header only sh_offset and, where the
section grew or shrank, sh_size may differ. A debug section is compressed only where that makes it
smaller, so one that grew may also be plain now, or compressed. What lies between sections is zero.
Symbols keep their indices; value and size follow the section that they are defined in.
"""

from __future__ import annotations

import bisect
import re
import zlib
from typing import TYPE_CHECKING

from nopfix.verifier.compressed import ELFCOMPRESS_ZLIB
from nopfix.verifier.elf import (
    RESERVED,
    SHF_COMPRESSED,
    SHT_NOBITS,
    SHT_SYMTAB,
    STT_NOTYPE,
    STT_SECTION,
    Object,
    Section,
    Symbol,
)
from nopfix.verifier.pairing import Pairing

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from nopfix.verifier.pairing import AnyPairing
    from nopfix.verifier.report import Findings

_WORD, _UNLIMITED = 8, 1 << 63

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
        text = f"IN has {len(old.sections)} sections, OUT has {len(new.sections)}"
        findings.differ("sections", "section headers", None, None, text)
        return False
    same = True
    for section, counterpart in zip(old.sections, new.sections, strict=True):
        name = section.name or f"section {section.number}"
        wrong = _header_differences(_in_form_of(section, counterpart, old), counterpart)
        same &= not wrong
        if _name_field(old, section.number) != _name_field(new, section.number):
            wrong.append("sh_name differs")
        for text in wrong:
            findings.differ("section-header", name, None, None, text)
    check_file_layout(old, new, findings)
    findings.count("section header", len(old.sections))
    return same


def _header_differences(before: Section, after: Section) -> list[str]:
    """What differs in two section headers that have to be equal, in words."""
    fields = (*_HEADER_FIELDS, ("compression", "(ch_type, ch_reserved, ch_addralign)"))
    pairs = [(title, getattr(before, name), getattr(after, name)) for name, title in fields]
    return [f"{title} is {a} in IN, {b} in OUT" for title, a, b in pairs if a != b]


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
    overlooked = 12 if _overlooks_half_a_header(old) else 0
    if len(kinds) != 1 or after.size - overlooked >= len(after.data):
        return before
    compression = (kinds.pop(), 0, before.alignment)
    return before._replace(flags=flags, alignment=8, compression=compression)


def _overlooks_half_a_header(obj: Object) -> bool:
    """Whether LLVM up to 16 compressed the object's sections: it counts 12 of a header's 24 bytes.

    Its name says so, or a section that got no smaller (ELFObjectWriter.cpp, maybeWriteCompression).
    """
    compressed = [s for s in obj.sections if s.compression is not None]
    comments = b"".join(s.data for s in obj.sections if s.name == ".comment")
    versions = [int(text) for text in re.findall(rb"clang version (\d{1,4})\.", comments)]
    return any(s.size >= len(s.data) for s in compressed) or any(v <= 16 for v in versions)


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
    most = _most_aligned(old)
    at = 0
    for section in stored:
        after = new.sections[section.number]
        # LLVM doesn't align what it compresses.
        aligned = _aligned(section, most)
        if after.offset < at or after.offset > len(new.raw):
            text = f"sh_offset {after.offset:#x} is out of order"
            findings.differ("file-layout", section.name, None, None, text)
        elif aligned and _stored(after) and not _aligned(after, most):
            text = f"sh_offset {after.offset:#x} unaligned"
            findings.differ("file-layout", section.name, None, None, text)
        at = max(at, after.offset + _stored(after))
    for section in old.sections[1:]:
        if section.type and not _stored(section):
            check_unstored(section, stored, new, findings)
    _check_between(new, findings)


def _check_between(new: Object, findings: Findings) -> None:
    """No byte of OUT is two sections' or headers', and what is no one's is zero."""
    used = [(0, 64), (new.section_headers, new.section_headers + 64 * len(new.sections))]
    used += [(s.offset, s.offset + _stored(s)) for s in new.sections if _stored(s)]
    at = 0
    for start, end in [*sorted(used), (len(new.raw), len(new.raw))]:
        if start < at:
            text = f"contents overlap at {start:#x} of OUT"
            findings.differ("file-layout", "file", None, start, text)
        elif any(new.raw[at:start]):
            text = f"bytes that no section holds at {at:#x} of OUT"
            findings.differ("file-layout", "file", None, at, text)
        at = max(at, end)


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


def _most_aligned(old: Object) -> int:
    """How far IN's sections are aligned in the file at most, in bytes.

    sh_addralign is about addresses (gABI 4). Writers align offsets by it as well, but for binutils
    from 2.44 on, which goes no further than to a word. Which it was, IN shows by a section that
    lies at a word only, or by one that lies a word or more behind what is in front of it; by chance
    all may lie as they say and close together.
    """
    wide = [s for s in old.sections[1:] if s.alignment > _WORD]
    further = [s for s in wide if s.offset % s.alignment]
    if further and not any(s.offset % _WORD for s in further):
        return _WORD
    ends = sorted(s.offset + s.size for s in old.sections[1:] if _stored(s))
    for section in wide:
        in_front = ends[: bisect.bisect_right(ends, section.offset)]
        if in_front and section.offset - in_front[-1] >= _WORD:
            return _UNLIMITED
    return _WORD


def _aligned(section: Section, most: int) -> bool:
    """Whether it lies in the file as it should."""
    return section.offset % min(max(section.alignment, 1), most) == 0


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
        text = f"IN has {len(old.symbols)} symbols, OUT has {len(new.symbols)}"
        findings.differ("symbol", ".symtab", None, None, text)
        return
    findings.count("symbol", len(old.symbols))
    check_symbol_records(old, new, findings)
    for index, (before, after) in enumerate(zip(old.symbols, new.symbols, strict=True)):
        if before == after and before.section not in pairings:
            continue
        name = old.symbol_name(index)
        names, new_names = ((s.name, s.info, s.other, s.section) for s in (before, after))
        text = ""
        if names != new_names:
            text = "name, type, binding, visibility or section differ"
        else:
            text = _symbol_difference(before, after, pairings.get(before.section))
        if text:
            findings.differ("symbol", ".symtab", index, index, f"{name}: {text}")


def _symbol_difference(before: Symbol, after: Symbol, pairing: AnyPairing | None) -> str:
    """What is wrong with a symbol's value or size, in words; empty where nothing is."""
    value: int | None = before.value
    end: int | None = before.value + before.size
    if pairing and before.type == STT_SECTION:
        end = before.size
    elif pairing and before.section < RESERVED:
        value = pairing.start(before.value)
        end = pairing.end(before.value + before.size) if before.size else value
    if value is None or end is None:
        return "its place has no counterpart in OUT"
    if after.value != value and not (
        isinstance(pairing, Pairing)
        and before.type == STT_NOTYPE
        and pairing.meet(value, after.value)
    ):
        return (
            f"is at {before.value:#x} in IN, so at {value:#x} in OUT, but its value is"
            f" {after.value:#x}"
        )
    if after.size != end - value:
        return (
            f"has {before.size:#x} bytes in IN, so {end - value:#x} in OUT, but its size is"
            f" {after.size:#x}"
        )
    return ""


def check_bytes(
    section: Section, counterpart: Section, findings: Findings, but: Container[int] = ()
) -> None:
    """A section is the same, byte for byte, `but` for the offsets of what something explains."""
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
    explained = False
    for offset, (a, b) in enumerate(zip(section.data, counterpart.data, strict=False)):
        if a != b and offset in but:
            explained = True
        elif a != b:
            findings.differ(
                "contents",
                section.name,
                offset,
                offset,
                f"IN has byte {a:#04x}, OUT has {b:#04x}",
            )
            return
    if explained:
        return
    findings.differ(
        "contents",
        section.name,
        None,
        None,
        f"has {len(section.data):#x} bytes in IN, {len(counterpart.data):#x} in OUT",
    )
