"""Sections that no rule knows: refused by name when code moves, never copied as they are.

The problem: a section may hold offsets of code as plain numbers, and then nothing in it says so.
Copied as it is, it speaks of the wrong instructions, and nobody notices.

The rule: what nopfix doesn't know is refused once code that it may speak of moves.

- *Types*: a section whose sh_type isn't among those that mean nothing for code.  (Relocations in
  another form than RELA are refused when the object is read: without them nothing is known.)
- *Links*: a section that says which code it belongs to (SHF_LINK_ORDER, or sh_info), has no
  relocations and isn't known.  Whatever it says of the code it says in numbers.
- *Names*: a section whose name is that of a format with offsets of code, where no relocation shows
  which code they are of.
- *Other names*: unwind and debug information is known by its name, and objcopy changes names.  So
  what ends with such a name, and what has the form of .eh_frame, is refused.

Source: System V gABI, chapter 4 (sh_type, sh_link, sh_info, SHF_LINK_ORDER); LLVM's
docs/Extensions.rst (SHT_LLVM_*); binutils, include/elf/common.h; LSB Core, 10.6 (.eh_frame).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf, kernel_sections

if TYPE_CHECKING:
    from collections.abc import Container

_KNOWN_TYPES = frozenset(
    (
        *range(elf.SHT_RELA + 1),
        7,  # NOTE
        elf.SHT_NOBITS,
        *range(14, elf.SHT_SYMTAB_SHNDX + 1),  # INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY, GROUP
        *range(0x6FFF4C00, 0x6FFF4C0F),  # LLVM_*
        0x6FFFFFF4,  # GNU_SFRAME
        0x6FFFFFF5,  # GNU_ATTRIBUTES
        0x6FFFFFF8,  # GNU_OBJECT_ONLY
    )
)
_STRUCTURE = frozenset(
    (elf.SHT_NULL, elf.SHT_SYMTAB, elf.SHT_STRTAB, elf.SHT_RELA, elf.SHT_GROUP)
    + (elf.SHT_SYMTAB_SHNDX, elf.SHT_NOBITS)
)
"""Sections that make up the file; what they link to is no code that they speak of."""

_EXCEPTION_TABLE = ".gcc_except_table"
_FRAME = ".eh_frame"
_DEBUG = (
    *(".debug_info", ".debug_types", ".debug_abbrev", ".debug_line", ".debug_frame"),
    *(".debug_loc", ".debug_loclists", ".debug_ranges", ".debug_rnglists", ".debug_aranges"),
    *(".debug_addr", ".debug_macro", ".debug_names", ".debug_pubnames", ".debug_pubtypes"),
)
_BY_NAME = "give it its own name back, or rewrite the object before objcopy renames its sections"
_WITHOUT = "compile without the option that makes this section, or remove it with objcopy -R"


def check(obj: elf.Object, moved: Container[int]) -> None:
    """Raise `Refusal` for a section that may speak of moved code in a way that no rule knows.

    ``moved`` are the numbers of the code sections that move.
    """
    for section in obj.sections:
        if section.number in moved or not section.size:
            continue
        if section.type not in _KNOWN_TYPES:
            raise Refusal(
                f"section type {section.type:#x} isn't known", section=section.name, remedy=_WITHOUT
            )
        if section.type not in _STRUCTURE and not section.flags & elf.SHF_EXECINSTR:
            _check_numbers(obj, section, moved)
            _check_name(obj, section)


def _check_numbers(obj: elf.Object, section: elf.Section, moved: Container[int]) -> None:
    """Refuse numbers without relocations that belong to moved code."""
    if section.number in obj.relocations or kernel_sections.is_elsewhere(section):
        return
    known = kernel_sections.describe(section.name)
    ordered = section.flags & elf.SHF_LINK_ORDER
    linked = [section.link] if ordered else []
    if section.flags & elf.SHF_INFO_LINK or section.type != elf.SHT_PROGBITS:
        linked.append(section.info)
    code = next((number for number in linked if number in moved), None)
    resolved = known is not None and known.meaning == "resolved"
    if code is not None and (known is None or resolved):
        raise Refusal(
            f"it belongs to {obj.sections[code].name}, in which calls are to be fixed, and may hold"
            " offsets of code as plain numbers",
            section=section.name,
            remedy=_WITHOUT,
        )
    if resolved and not ordered:
        raise Refusal("offsets of code as plain numbers", section=section.name, remedy=_WITHOUT)


def _check_name(obj: elf.Object, section: elf.Section) -> None:
    """Refuse unwind and debug information under a name that it isn't known by."""
    name = section.name
    # What GCC keeps for link-time optimisation knows no code yet.
    if kernel_sections.is_elsewhere(section) or name.startswith(".gnu.debuglto_"):
        return
    loaded = section.flags & elf.SHF_ALLOC
    if _is_renamed_table(name) or (not loaded and name.endswith(_DEBUG)):
        raise Refusal("unwind or debug information by its name", section=name, remedy=_BY_NAME)
    if section.number in obj.relocations and _has_form_of_frames(obj.contents(section.number)):
        raise Refusal("call frame information under another name", section=name, remedy=_BY_NAME)


def _is_renamed_table(name: str) -> bool:
    """Whether ``name`` is that of an exception table with something in front of it.

    -fdata-sections puts the names of variables behind those of sections.
    """
    front, found, _ = name.partition(_EXCEPTION_TABLE)
    return bool(found) and not front.startswith((".data", ".rodata", ".bss", ".sdata", ".sbss"))


def _has_form_of_frames(data: memoryview) -> bool:
    """Whether ``data`` is nothing but records of .eh_frame: CIEs, and FDEs that point to them."""
    at = 0
    entries: set[int] = set()
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        start = at + 4
        if not length:
            break
        if length == 0xFFFFFFFF:
            length = int.from_bytes(data[at + 4 : at + 12], "little")
            start = at + 12
        pointer = int.from_bytes(data[start : start + 4], "little")
        if start + length > len(data) or length < 8:
            return False
        if not pointer:
            if data[start + 4] not in (1, 3):
                return False
            entries.add(at)
        elif start - pointer not in entries:
            return False
        at = start + length
    return bool(entries) and not any(data[at:])
