"""Numbers and places that only assembly has: refused where they change, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal, rewrite
from nopfix.verifier import verify

if TYPE_CHECKING:
    from tests.conftest import Assemble

FUNCTION = """
    .globl {name}
    .type {name},@function
{name}:
    mflr 0
    std 0,16(1)
    stdu 1,-32(1)
    bl ext
    SLOT
.L{name}_middle:
    li 4,0
    addi 1,1,32
    ld 0,16(1)
    mtlr 0
    blr
    .size {name},.-{name}
"""
CALLING = "    .abiversion 2\n    .text\n" + FUNCTION.format(name="f")


def plain_and_wanted(assemble: Assemble, text: str) -> tuple[bytes, bytes]:
    """The object that lacks the slots of ``text``, and the one that has them."""
    return assemble(text.replace("SLOT", "")), assemble(text.replace("SLOT", "nop"))


H = FUNCTION.format(name="h")

ABSOLUTE = {
    "the size of a function": "    .globl f_size\nf_size = . - f\n",
    "the size of a function, under any name": "    .globl bytes\nbytes = . - f\n",
    "how far a place lies in it": "    .globl f_resume\nf_resume = .Lf_middle - f\n",
    "how far, the function's name behind": "offset_of_f = .Lf_middle - f\n    .quad offset_of_f\n",
    "how far apart two functions are": f"{H}stop:\n    .globl all\nall = stop - f\n",
}


@pytest.mark.parametrize("text", ABSOLUTE.values(), ids=ABSOLUTE)
def test_a_symbol_that_is_a_distance_is_refused_where_that_changes(
    assemble: Assemble, text: str
) -> None:
    with pytest.raises(Refusal, match="a number that may be the distance"):
        rewrite(assemble((CALLING + text).replace("SLOT", "")))


def test_a_number_that_its_name_gives_to_one_place_is_no_distance_of_others(
    assemble: Assemble,
) -> None:
    """The kernel's fixed symbols: how far they lie into their section, beside others' functions."""
    far = "    .text\n" + FUNCTION.format(name="f").replace("SLOT", "")
    head = (
        '    .section .head,"ax"\n.Lhead:\n    .rept 9\n    nop\n    .endr\n{more}'
        "__run_at: blr\n__run_at_absolute = __run_at - .Lhead\n"
    )
    assert rewrite(assemble("    .abiversion 2\n" + far + head.format(more=""))).report.insertions
    other = head.replace("__run_at_absolute", "number")
    with pytest.raises(Refusal, match="the symbol number, a number that may be the distance"):
        rewrite(assemble("    .abiversion 2\n" + far + other.format(more="")))
    moved = "    .abiversion 2\n" + head.format(more="    bl ext\n")
    with pytest.raises(Refusal, match="the symbol __run_at_absolute, a number that may be"):
        rewrite(assemble(moved))


WITHOUT_SLOTS = """
    .globl h
    .type h,@function
h:  nop
    blr
    .size h,.-h
    .globl h_size
h_size = . - h
"""
NAMED_ZEROS = """
    .type table,@object
table: .space 124
    .size table,.-table
    .globl h
h:  blr
"""
IN_FRONT_OF_AN_OBJECT = """
    .p2align 6
here:
    mflr 0
    bcl 20,31,.+4
    mflr 12
    addi 12,12,56
    mtlr 0
    blr
    .space 64 - (. - here)
    .type table,@object
table: .quad 1, 2
    .size table,.-table
"""
STAY = {
    "a constant": "    .globl LIMIT\nLIMIT = 20\nr31 = 31\n",
    "a distance in front of the slot": "    .globl f_call\nf_call = 12\n",
    "the size of a function without slots": WITHOUT_SLOTS,
    "a length beside another section's address": "    .data\n    .quad other, 36\n",
    "a number that leads nowhere": "    .data\n    .quad f, 28\n    .long 8, 20\n",
    "a function at its alignment behind few zeros": f"    .balign 16,0\n{H}",
    "zeros in front of all slots": f'    .section .text.h,"ax"\nt:  blr\n    .org 0x80\n{H}',
    "zeros that have a name": NAMED_ZEROS,
    "zeros in front of an object": IN_FRONT_OF_AN_OBJECT,
}


@pytest.mark.parametrize("text", STAY.values(), ids=STAY)
def test_numbers_and_places_that_stay_are_no_reason(assemble: Assemble, text: str) -> None:
    plain, _ = plain_and_wanted(assemble, CALLING + text)
    result = rewrite(plain)
    assert result.report.insertions
    assert verify(plain, bytes(result.data), need_slots=True).verified


BESIDE = {
    "behind it": "    .quad f, .Lf_end - f\n",
    "in front of it, in four bytes": "    .long 7, .Lf_end - f\n    .quad f\n",
    "to a place with a name": "    .quad f\n    .long named - f, 0\n",
    "from a place within": "    .quad .Lf_middle - 12, .Lf_end - .Lf_middle + 12\n",
}


@pytest.mark.parametrize("text", BESIDE.values(), ids=BESIDE)
def test_a_length_beside_an_address_is_refused_where_it_changes(
    assemble: Assemble, text: str
) -> None:
    code = CALLING.replace("    li 4,0\n", "named:\n    li 4,0\n") + ".Lf_end:\n"
    with pytest.raises(Refusal, match="whose address stands beside it"):
        rewrite(assemble((code + "    .data\n" + text).replace("SLOT", "")))


def test_what_a_compiler_has_signed_has_no_lengths_of_code_in_it(assemble: Assemble) -> None:
    text = CALLING + '.Lf_end:\n    .data\n    .quad f, .Lf_end - f\n    .ident "GCC: 12"\n'
    assert rewrite(assemble(text.replace("SLOT", ""))).report.insertions


FIXED = {
    "one": "    .org 0x100\n" + H,
    "several": "".join(
        f"    .org {at:#x}\n" + FUNCTION.format(name=f"at_{at:x}") for at in (0x80, 0x100, 0x180)
    ),
    "filled up to a size": "    .space 0x80 - (. - f)\n" + FUNCTION.format(name="h"),
    "a label": "    .org 0x400\nvector:\n    b f\n",
}


@pytest.mark.parametrize("text", FIXED.values(), ids=FIXED)
def test_what_lies_behind_many_zeros_is_to_stay_there(assemble: Assemble, text: str) -> None:
    with pytest.raises(Refusal, match="a place that is to stay where it is"):
        rewrite(assemble((CALLING + text).replace("SLOT", "")))


ENDS = {
    "a label": "f_end:\n",
    "a visible label": "    .globl f_end\nf_end:\n",
    "a function of no size": "    .type f_end,@function\nf_end:\n",
    "a visible one": "    .globl f_end\n    .type f_end,@function\nf_end:\n    .size f_end,0\n",
    "an object of no size": "    .type f_end,@object\nf_end:\n",
    "a function that says which": "    .type f_end,@gnu_indirect_function\nf_end:\n",
}


@pytest.mark.parametrize("label", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("ending", ["", "    bl ext\n    SLOT\n"])
def test_a_label_at_the_end_of_a_function_leaves_the_padding_behind_it_to_align(
    assemble: Assemble, label: str, ending: str
) -> None:
    text = CALLING.replace("    .size f", f"{ending}    .size f")
    text += f"{label}    .p2align 4\n" + FUNCTION.format(name="h")
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted


CODE = "{0}:\n    mflr 0\n    bl ext\n    SLOT\n    li 4,0\n    mtlr 0\n    blr\n"
UNDECLARED = CODE + "    .size {0},.-{0}\n"
DECLARED = "    .type {0},@function\n" + UNDECLARED
PADDED = "    .p2align 4\n"
SIZED = {
    "two": UNDECLARED.format("f") + PADDED + UNDECLARED.format("g"),
    "one in front of a function": UNDECLARED.format("f") + PADDED + DECLARED.format("g"),
    "one behind a function": DECLARED.format("f") + PADDED + UNDECLARED.format("g"),
    "without padding": UNDECLARED.format("f").replace("    li 4,0\n", "")
    + PADDED
    + UNDECLARED.format("g"),
    "one within a function": DECLARED.format("f").replace(
        "    mtlr 0\n", "1:\n    .set part,1b\n    .size part,4\n    mtlr 0\n"
    )
    + PADDED
    + DECLARED.format("g"),
    "one around two functions": "all:\n"
    + DECLARED.format("f")
    + PADDED
    + DECLARED.format("g")
    + "    .size all,.-all\n",
    "traps between": UNDECLARED.format("f")
    + "    .balignl 32,0x7fe00008\n"
    + UNDECLARED.format("g"),
}


@pytest.mark.parametrize("text", SIZED.values(), ids=SIZED)
def test_a_symbol_with_a_size_and_no_type_is_a_function_to_padding(
    assemble: Assemble, text: str
) -> None:
    plain, wanted = plain_and_wanted(assemble, "    .p2align 5\n" + text)
    assert rewrite(plain).data == wanted
    assert verify(plain, wanted, need_slots=True).verified


@pytest.mark.parametrize("following", [UNDECLARED, DECLARED])
def test_behind_the_end_of_an_undeclared_function_no_nop_is_a_slot(
    assemble: Assemble, following: str
) -> None:
    ending = UNDECLARED.format("f").replace("    .size", "    bl ext\n    SLOT\n    .size")
    text = "    .p2align 5\n" + ending + "    .p2align 5\n" + following.format("g")
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted
    assert verify(plain, wanted, need_slots=True).verified


DATA_ENDS = {
    "a label's address": "f_end:\n    .data\n    .quad f_end\n    .text\n",
    "an address": "    .data\n    .quad 1f\n    .text\n",
    "two": "    .data\n    .quad f, 1f\n    .text\n",
    "a distance": '    .pushsection .rodata,"a"\n    .long f - ., 1f - .\n    .popsection\n',
}


@pytest.mark.parametrize("data", DATA_ENDS.values(), ids=DATA_ENDS)
@pytest.mark.parametrize("power", [4, 5])
def test_data_that_names_a_functions_end_leaves_the_padding_behind_it_to_align(
    assemble: Assemble, data: str, power: int
) -> None:
    text = CALLING + f"{data}1:  .p2align {power}\n" + FUNCTION.format(name="h")
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted


PATCHED_ENDS = {
    "a static key": (
        '    .pushsection __jump_table,"aw"\n    .long 1f - ., h - .\n    .quad 0\n'
        "    .popsection\n"
    ),
    "entries to patch": (
        '    .pushsection __patchable_function_entries,"awo",@progbits,f\n    .quad 1f\n'
        "    .popsection\n"
    ),
    "a note": '    .pushsection .note.probes,"",@note\n    .quad 1f\n    .popsection\n',
    "a branch": '    .pushsection .text.other,"ax"\n    b 1f\n    .popsection\n',
}


@pytest.mark.parametrize("data", PATCHED_ENDS.values(), ids=PATCHED_ENDS)
@pytest.mark.parametrize("label", ["", "f_end:\n", "    .type f_end,@function\nf_end:\n"])
def test_no_ops_at_a_functions_end_that_are_patched_are_no_padding(
    assemble: Assemble, data: str, label: str
) -> None:
    text = "    .p2align 4\n" + CALLING + f"{data}{label}1:\n" + 3 * "    nop\n"
    plain, wanted = plain_and_wanted(assemble, text + FUNCTION.format(name="h"))
    assert rewrite(plain).data == wanted


def test_a_function_that_says_which_function_is_meant_is_one(assemble: Assemble) -> None:
    text = CALLING.replace("@function", "@gnu_indirect_function")
    text = text.replace("    .size f", "    bl ext\n    SLOT\n    .size f")
    plain, wanted = plain_and_wanted(assemble, text + "    .p2align 4\n    .globl h\nh:  blr\n")
    assert rewrite(plain).data == wanted
    assert verify(plain, wanted, need_slots=True).verified


def test_a_name_for_the_midst_of_a_function_has_that_functions_size_and_is_no_damage(
    assemble: Assemble,
) -> None:
    text = CALLING + "    .globl middle\n    .set middle,f+8\n"
    assert rewrite(assemble(text.replace("SLOT", ""))).report.insertions
