"""What the verifier can't read isn't verified, and is named."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import elf, understood, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    Variants = Callable[..., tuple[bytes, bytes]]

CODE = """
    .text
    .type g, @function
g:  blr
    .size g, .-g
    .globl f
    .type f, @function
f:  mflr 0
    bl g
    SLOT
    addis 4,2,word@toc@ha
    mtlr 0
    blr
    .size f, .-f
    .section .text.still,"ax",@progbits
    .type h, @function
h:  blr
    .size h, .-h
"""
"""Code in .text moves, that in .text.still doesn't."""


def retyped(data: bytes, name: str, number: int) -> bytes:
    """The object with another sh_type for one section."""
    obj = elf.read(data)
    section = next(s for s in obj.sections if s.name == name)
    out = bytearray(data)
    struct.pack_into("<I", out, obj.section_headers + 64 * section.number + 4, number)
    return bytes(out)


def refused(pair: tuple[bytes, bytes]) -> list[str]:
    """The sections that the verifier says it doesn't understand."""
    differences = verify(*pair).differences
    return [found.section for found in differences if found.rule == "not-understood"]


@pytest.mark.parametrize("number", understood.RELOCATION_TYPES)
def test_relocations_in_any_form_but_rela_are_refused(number: int, variants: Variants) -> None:
    pair = variants(CODE)
    assert verify(*pair).verified
    old, new = (retyped(data, ".rela.text", number) for data in pair)
    assert refused((old, new)) == [".rela.text"]


@pytest.mark.parametrize("number", [0x60000123, 0x70000001, 0x80000000, 0x6FFF4C0A])
def test_a_section_of_an_unknown_type_is_refused(number: int, variants: Variants) -> None:
    pair = variants(CODE + '.section odd,"",@progbits\n.byte 1\n')
    assert verify(*pair).verified
    old, new = (retyped(data, "odd", number) for data in pair)
    assert refused((old, new)) == ["odd"]


@pytest.mark.parametrize(
    ("linked", "contents", "verified"),
    [
        (".text", ".byte 4", False),  # nothing says how it follows the code
        (".text", ".quad f", True),  # the relocation does
        (".text", "", True),
        (".text.still", ".byte 4", True),
    ],
)
def test_a_section_of_numbers_that_belongs_to_code_that_moved_is_refused(
    linked: str, contents: str, verified: bool, variants: Variants
) -> None:
    pair = variants(CODE + f'.section odd,"ao",@progbits,{linked}\n{contents}\n')
    assert refused(pair) == ([] if verified else ["odd"])


# gas has its own idea of what is in a section called .stab, and ends with an internal error.
@pytest.mark.parametrize("name", sorted(understood.OFFSETS_WITHOUT_RELOCATIONS.keys() - {".stab"}))
def test_sections_known_to_hold_offsets_as_numbers_are_refused(
    name: str, variants: Variants
) -> None:
    section = f'{CODE}.section {name},"",@progbits\n'
    assert refused(variants(section + ".quad f\n.byte 4\n")) == [name]
    assert refused(variants(section + ".byte 4")) == [name]
    assert refused(variants(section + ".quad h\n.byte 4\n")) == []


@pytest.mark.parametrize(("target", "number", "expected"), [("f", 150, []), ("f", 160, ["odd"]),
                                                          ("h", 160, [])])  # fmt: skip
def test_a_relocation_of_an_unknown_type_is_refused_where_it_leads_into_moved_code(
    target: str, number: int, expected: list[str], variants: Variants
) -> None:
    def changed(data: bytes) -> bytes:
        table = next(s for s in elf.read(data).sections if s.name == ".relaodd")
        at = table.offset + 8
        return data[:at] + number.to_bytes(4, "little") + data[at + 4 :]

    old, new = variants(f'{CODE}.section odd,"",@progbits\n.quad {target}\n')
    assert refused((changed(old), changed(new))) == expected


def test_nothing_is_refused_in_an_object_whose_code_did_not_move(variants: Variants) -> None:
    source = CODE.replace("SLOT", "nop") + '.section .pseudo_probe,"",@progbits\n.byte 4\n'
    old, new = variants(source)
    assert verify(old, new).verified
