"""Default deny: what no rule knows is refused by name once code moves, and only then."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal, rewrite
from nopfix.rewriter.object import elf

if TYPE_CHECKING:
    from collections.abc import Callable

    Assemble = Callable[..., bytes]

CODE = """
    .abiversion 2
    .type f,@function
f:  {call}
    blr
    .size f,.-f
    .section .text.still,"ax"
    .type g,@function
g:  blr
    .size g,.-g
"""
MOVED, STILL = CODE.format(call="bl g"), CODE.format(call="nop")


def with_type(data: bytes, name: str, number: int) -> bytes:
    """The object ``data`` with another sh_type for its section ``name``."""
    obj = elf.read(data)
    section = next(s.number for s in obj.sections if s.name == name)
    (table,) = struct.unpack_from("<Q", data, 40)
    changed = bytearray(data)
    struct.pack_into("<I", changed, table + 64 * section + 4, number)
    return bytes(changed)


@pytest.mark.parametrize(
    ("number", "name"),
    [(9, "SHT_REL"), (19, "SHT_RELR"), (0x40000014, "SHT_CREL"), (0x60000002, "SHT_ANDROID_RELA")],
)
def test_relocations_in_a_form_that_isnt_the_abis_are_refused(
    assemble: Assemble, number: int, name: str
) -> None:
    data = with_type(assemble(MOVED), ".rela.text", number)
    with pytest.raises(Refusal, match=f"relocations in the form {name}"):
        rewrite(data)


def test_a_section_type_that_isnt_known_is_refused_where_code_moves(assemble: Assemble) -> None:
    vendor = '    .section .vendor,"a"\n    .long 4\n'
    with pytest.raises(Refusal, match="section type 0x6abc0001 isn't known") as caught:
        rewrite(with_type(assemble(MOVED + vendor), ".vendor", 0x6ABC0001))
    assert caught.value.section == ".vendor"
    still = with_type(assemble(STILL + vendor), ".vendor", 0x6ABC0001)
    assert rewrite(still).data == still


@pytest.mark.parametrize("section", [".vendor", ".pseudo_probe", "__sancov_counters"])
def test_numbers_that_belong_to_moved_code_are_refused(assemble: Assemble, section: str) -> None:
    numbers = f'    .section {section},"ao",@progbits,{{}}\n    .long 4, 8\n'
    with pytest.raises(Refusal, match=r"it belongs to \.text, in which calls are to be fixed"):
        rewrite(assemble(MOVED + numbers.format(".text")))
    assert rewrite(assemble(MOVED + numbers.format(".text.still"))).report.insertions


@pytest.mark.parametrize(
    "section", [".pseudo_probe", ".BTF.ext", ".gopclntab", ".llvm_stackmaps", ".gdb_index"]
)
def test_formats_that_hold_offsets_of_code_are_refused_without_a_relocation(
    assemble: Assemble, section: str
) -> None:
    numbers = f'    .section {section},""\n    .long 4, 8\n'
    with pytest.raises(Refusal, match="offsets of code as plain numbers"):
        rewrite(assemble(MOVED + numbers))
    still = assemble(STILL + numbers)
    assert rewrite(still).data == still


def test_what_has_relocations_speaks_for_itself(assemble: Assemble) -> None:
    sizes = '    .section .stack_sizes,"o",@progbits,.text\n    .8byte f\n    .byte 32\n'
    want = assemble(MOVED.replace("bl g", "bl g; nop") + sizes)
    assert rewrite(assemble(MOVED + sizes)).data == want


FRAME = """
    .section {name},"a"
.Lcie: .long .Lcie_end - .Lcie_id
.Lcie_id: .long 0
    .byte 1
    .asciz "zR"
    .uleb128 4
    .sleb128 -8
    .byte 65
    .uleb128 1
    .byte 0x1b
    .byte 0x0c, 1, 0
    .balign 4
.Lcie_end:
    .long .Lend - .Lfde
.Lfde: .long .Lfde - .Lcie
    .long f - .
    .long 8
    .byte 0
    .balign 4
.Lend:
"""


@pytest.mark.parametrize("name", [".init.eh_frame", ".unwind", ".eh_fram"])
def test_call_frame_information_under_another_name_is_refused(
    assemble: Assemble, name: str
) -> None:
    with pytest.raises(Refusal, match="call frame information under another name"):
        rewrite(assemble(MOVED + FRAME.format(name=name)))


@pytest.mark.parametrize(
    ("name", "flags"),
    [(".init.gcc_except_table", "a"), (".x.debug_line", ""), (".x.debug_loclists", "")],
)
def test_tables_and_debug_information_under_another_name_are_refused(
    assemble: Assemble, name: str, flags: str
) -> None:
    text = f'    .section {name},"{flags}"\n    .long 1, 2\n'
    with pytest.raises(Refusal, match="unwind or debug information by its name"):
        rewrite(assemble(MOVED + text))


@pytest.mark.parametrize(
    "name", [".data.debug_info", ".rodata.gcc_except_table_size", ".gnu.debuglto_.debug_info"]
)
def test_variables_with_such_names_are_variables(assemble: Assemble, name: str) -> None:
    flags = "" if name.startswith(".gnu") else "aw"
    text = f'    .section {name},"{flags}"\n    .long 1, 2\n'
    assert rewrite(assemble(MOVED + text)).report.insertions
