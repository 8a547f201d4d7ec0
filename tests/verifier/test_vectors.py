"""Data in code that vectors are read from: it is on a multiple of 16 in OUT, or it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import nopfix
from nopfix.verifier import verify
from nopfix.verifier.vectors import needs_alignment

if TYPE_CHECKING:
    from collections.abc import Callable

    Assemble = Callable[..., bytes]
    Variants = Callable[..., tuple[bytes, bytes]]

TEXT = """
    .text
    .p2align 4
    .type f, @function
f:  mflr 0
    std 0,16(1)
    stdu 1,-32(1)
    bl g
    SLOT
    READ
    addi 1,1,32
    ld 0,16(1)
    mtlr 0
    blr
    .size f, .-f
    .type g, @function
g:  MORE
    blr
    .size g, .-g
    ALIGN
    PAD
    DATA
    .type h, @function
h:  blr
    .size h, .-h
"""
POINTER = "addis 9,2,.Lpool@toc@ha\n addi 9,9,.Lpool@toc@l\n "
READS = {
    "lvx": POINTER + "lvx 0,0,9",
    "lvx with an index": POINTER + "li 8,16\n lvx 0,8,9",
    "stvx": POINTER + "stvx 0,0,9",
    "lvebx": POINTER + "lvebx 0,0,9",
    "lq": POINTER + "lq 4,0(9)",
    "lxv": "addis 9,2,.Lpool@toc@ha\n lxv 0,.Lpool@toc@l(9)",
    "lxvp": "addis 9,2,.Lpool@toc@ha\n lxvp 0,.Lpool@toc@l(9)",
    "an absolute address": "lis 9,.Lpool@ha\n addi 9,9,.Lpool@l\n lvx 0,0,9",
    "an address in the TOC": (
        '.pushsection .toc,"aw"\n.LT: .quad .Lpool\n .popsection\n ld 9,.LT@toc(2)\n lvx 0,0,9'
    ),
    "an address in data": (
        '.pushsection .data.rel.ro,"aw"\np: .quad .Lpool\n .popsection\n'
        " addis 9,2,p@toc@ha\n ld 9,p@toc@l(9)\n lvx 0,0,9"
    ),
    "a prefixed address": "pla 9,.Lpool@pcrel\n lvx 0,0,9",
    "the program counter": (
        "bcl 20,31,$+4\n.Lc: mflr 9\n addi 9,9,.Lpool-.Lc\n mtlr 0\n lvx 0,0,9"
    ),
}
DATA = {
    "words": ".Lpool: .long 1, 2, 3, 4",
    "an object": ".type c,@object\nc:\n.Lpool: .long 1, 2, 3, 4\n .size c,.-c",
    "behind words that belong to it": ".long 9, 9, 9, 9\n.Lpool: .long 1, 2, 3, 4",
    "within an object": (".type c,@object\nc: .quad 5, 6\n.Lpool: .long 1, 2, 3, 4\n .size c,.-c"),
    "within an object off the grid, behind another": (
        ".type b,@object\nb: .quad 7\n .size b,.-b\n"
        ".type c,@object\nc: .quad 5\n.Lpool: .long 1, 2, 3, 4\n .size c,.-c"
    ),
}


def both(
    variants: Variants, read: str, data: str, pad: str, more: str = "nop"
) -> tuple[bytes, ...]:
    """IN, in which nothing is padding, and OUT with a slot and `pad` in front of the data."""
    text = TEXT.replace("READ", READS[read]).replace("DATA", DATA[data]).replace("MORE", more)
    return variants(text.replace("ALIGN", ""), "-mpower10", PAD=("", pad))


def moved(assemble: Assemble, read: str, data: str, more: str) -> tuple[bytes, bytes]:
    text = TEXT.replace("READ", READS[read]).replace("DATA", DATA[data]).replace("MORE", more)
    text = text.replace("ALIGN", ".p2align 4")
    old = assemble(".abiversion 2\n" + text.replace("SLOT", "").replace("PAD", ""), "-mpower10")
    return old, bytes(nopfix.rewrite(old).data)


@pytest.mark.parametrize("data", [name for name in DATA if "belong" not in name])
@pytest.mark.parametrize("read", [name for name in READS if "counter" not in name])
def test_padding_may_keep_what_vectors_are_read_from_aligned(
    read: str, data: str, assemble: Assemble
) -> None:
    for words in range(4):
        old, new = moved(assemble, read, data, "nop\n" * words)
        assert verify(old, new, need_slots=True).differences == ()


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("read", READS)
def test_without_it_the_data_is_no_longer_what_is_read(
    read: str, data: str, variants: Variants
) -> None:
    found = 0
    for words in range(4):
        old, new = both(variants, read, data, "", "li 3,0\n" * words)
        found += "alignment" in {difference.rule for difference in verify(old, new).differences}
    # One of the four has the data on a multiple of 16.
    assert found == 1


def test_padding_does_not_part_what_lies_in_front_of_a_constant_from_it(
    variants: Variants,
) -> None:
    text = TEXT.replace("READ", READS["lvx"]).replace("MORE", "li 3,0\n li 3,0\n li 3,0")
    text = text.replace("ALIGN", "").replace("PAD", "")
    text = text.replace("DATA", ".long 9, 9, 9, 9\n PAD\n.Lpool: .long 1, 2, 3, 4")
    for words in range(1, 4):
        old, new = variants(text, PAD=("", "nop\n" * words))
        assert not verify(old, new).verified


CODE = {
    "a label that a branch by CTR reads": (
        "lvx 0,0,3\n addis 9,2,.Lp@toc@ha\n ld 9,.Lp@toc@l(9)\n mtctr 9\n bctr\n .p2align 4\n"
        ".La: li 4,0"
    ),
    "a label in the midst of code": "lvx 0,0,3\n b .La\n .p2align 4\n.La: li 4,0",
    "a label that branches lie in front of": (
        "lvx 0,0,3\n cmpwi 3,0\n beq 1f\n b 1f\n nop\n nop\n1: li 5,0\n .p2align 4\n.La: li 4,0"
    ),
    "vectors on the stack alone": "li 9,16\n stvx 0,9,1\n b 1f\n .p2align 4\n.La: li 4,0\n1:",
    "a place that the kernel knows": (
        "lvx 0,0,3\n b 1f\n .p2align 4\n.La: li 4,0\n1:\n"
        ' .pushsection __ex_table,"a"\n .long f-., .La-.\n .popsection'
    ),
}


@pytest.mark.parametrize("name", CODE)
def test_code_may_be_anywhere(name: str, variants: Variants) -> None:
    for words in range(4):
        code = "li 6,0\n" * words + CODE[name].replace(".p2align 4\n", "")
        text = TEXT.replace("READ", code).replace("MORE", "nop")
        for left_out in ("ALIGN", "PAD", "DATA"):
            text = text.replace(left_out, "")
        if "kernel" not in name:
            text += ' .section .toc,"aw"\n.Lp: .quad .La\n'
        old, new = variants(text)
        assert verify(old, new).differences == ()


INSTRUCTIONS = {
    **dict.fromkeys(("lvx 2,0,4", "lvxl 2,5,4", "lvehx 2,5,4", "stvewx 2,5,4"), True),
    **dict.fromkeys(("lq 4,0(9)", "stq 4,16(9)", "lxv 34,0(9)", "stxv 2,0(9)"), True),
    **dict.fromkeys(("lxvp 2,0(9)", "stxvp 2,0(9)"), True),
    **dict.fromkeys(("lvx 2,0,1", "stvx 2,1,9", "lxv 34,32(1)", "stq 4,16(1)"), False),
    **dict.fromkeys(
        ("lxvd2x 2,0,4", "ld 4,0(9)", "std 4,0(9)", "stdu 4,8(9)", "lwa 4,0(9)"), False
    ),
    **dict.fromkeys(("lxsd 2,0(9)", "stxsd 2,0(9)", "lxvx 2,0,9", "add 3,4,5"), False),
}


@pytest.mark.parametrize(("text", "needs"), INSTRUCTIONS.items())
def test_which_instructions_need_an_aligned_address(
    text: str, needs: bool, assemble: Assemble
) -> None:
    from nopfix.verifier import elf

    obj = elf.read(assemble(text + "\n", "-mpower10"))
    code = next(section.data for section in obj.sections if section.executable)
    assert needs_alignment(int.from_bytes(code[:4], "little")) == needs
