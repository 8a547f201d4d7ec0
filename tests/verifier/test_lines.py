"""Line tables: the same rows, no operation too many, and who refers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    Variants = Callable[..., tuple[bytes, bytes]]

#: A line table as a compiler writes it itself, with two sequences that entries refer to.
SOURCE = """
    .text
    .globl f
    .type f, @function
f:
.Lf: mflr 0
    bl g
    SLOT
.Lm: mtlr 0
    blr
.Lf_end:
    .size f, .-f
    .type g, @function
g:
.Lg: blr
.Lg_end:
    .size g, .-g
    .section .debug_abbrev,"",@progbits
.La: .uleb128 1, 0x11
    .byte 1
    .uleb128 0x10, 0x17, 0x11, 1, 0x12, 7   # DW_AT_stmt_list, _low_pc, _high_pc
    .byte 0,0
    .uleb128 2, 0x2e
    .byte 0
    .uleb128 0x11, 1, 0x3e0c, 0x17          # DW_AT_low_pc, DW_AT_LLVM_stmt_sequence
    .byte 0,0,0
    .section .debug_info,"",@progbits
    .4byte .Lend-.-4
    .2byte 5
    .byte 1,8
    .4byte .La
    .uleb128 1
    .4byte .Lline
    .8byte .Lf, .Lg_end-.Lf
    .uleb128 2
    .8byte .Lf
    .4byte .Lfirst
    .uleb128 2
    .8byte .Lg
    .4byte SEQUENCE
    .byte 0
.Lend:
    .section .debug_line,"",@progbits
.Lline: .4byte .Lline_end-.-4
    .2byte 3
    .4byte .Lprogram-.-4
    .byte 4,1,-5,14,13
    .byte 0,1,1,1,1,0,0,0,1,0,0,1
    .byte 0
    .asciz "in.c"
    .byte 0,0,0,0
.Lprogram:
.Lfirst: .byte 0,9,2
    .8byte .Lf
    .byte 0x13
    .byte 2
    .uleb128 (.Lm-.Lf)/4
    .byte 0,2,4,1                           # DW_LNE_set_discriminator
    MORE
    .byte 3,LINE,1
    .byte 2
    .uleb128 (.Lf_end-.Lm)/4
    .byte 0,1,1
.Lsecond: .byte 0,9,2
    .8byte .Lg
    .byte 0x13
    .byte 2,1
    .byte 0,1,1
.Lline_end:
"""
RIGHT = {
    "SEQUENCE": (".Lsecond", ".Lsecond"),
    "LINE": ("2", "2"),
    "MORE": ("", ""),
}


@pytest.mark.parametrize(
    ("fault", "rules"),
    [
        ({}, set()),
        ({"LINE": ("2", "3")}, {"line-row"}),
        ({"MORE": ("", ".byte 2,0")}, {"line-row"}),  # an advance by nothing
        ({"MORE": ("", ".byte 10")}, {"line-row"}),  # DW_LNS_set_prologue_end
        ({"SEQUENCE": (".Lsecond", ".Lfirst")}, {"relocation"}),
        ({"SEQUENCE": (".Lsecond", ".Lsecond+3")}, {"relocation"}),
    ],
)
def test_rows_settings_and_the_beginnings_of_sequences_are_the_same(
    fault: dict[str, tuple[str, str]], rules: set[str], variants: Variants
) -> None:
    report = verify(*variants(SOURCE, **(RIGHT | fault)))
    assert rules <= {difference.rule for difference in report.differences}
    assert report.verified == (not rules)


#: A function that ends with a call, a row behind that, and a function whose rows begin anew.
AT_THE_END = """
    .file 1 "in.c"
    .text
    .p2align 4
    .globl f
    .type f, @function
f:  .loc 1 1 1 view -0
    mflr 0
    std 0,16(1)
    stdu 1,-32(1)
    bl k
    SLOT
    .size f, .-f
    PADDING
    .loc 1 3 5 view V1
    .p2align 4
    .globl k
    .type k, @function
k:  .loc 1 5 1 view -0
    blr
    .size k, .-k
"""


@pytest.mark.parametrize(("padding", "verified"), [("", True), ("nop", False)])
def test_a_row_at_a_functions_end_stays_there_in_front_of_new_padding(
    padding: str, verified: bool, variants: Variants
) -> None:
    old, new = variants(AT_THE_END, PADDING=("", padding))
    assert verify(old, new).verified == verified


#: A line program with an operation of a vendor's own between two rows.
OWN_OPERATION = """
    .text
    .type f, @function
f:  mflr 0
    bl g
    SLOT
.L2: mtlr 0
    blr
.L3:
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    .section .debug_line,"",@progbits
    .4byte .Lend-.Lbegin
.Lbegin: .2byte 4
    .4byte .Lprogram-.Lheader
.Lheader: .byte 4,1,1,-5,14,13, 0,1,1,1,1,0,0,0,1,0,0,1, 0
    .string "a.c"
    .byte 0,0,0, 0
.Lprogram:
    .byte 0,9,2
    .quad f
    .byte 1
    OPERATION
    .byte 0,9,2
    .quad .L2
    .byte 3,1,1
    .byte 0,9,2
    .quad .L3
    .byte 0,1,1
.Lend:
"""
OWN = ".byte 0,5,0x80\n .4byte 0x01010101"


@pytest.mark.parametrize(
    ("old", "new", "right"),
    [
        (OWN, OWN, True),
        (".byte 0,1,0xff", ".byte 0,1,0xff", True),
        (".byte 0,3,5,1,2", ".byte 0,3,5,1,2", True),
        (OWN, OWN.replace("0x01010101", "0x01010102"), False),
        (OWN, OWN.replace("0x80", "0x81"), False),
        (".byte 0,3,0x80,1,2", ".byte 0,2,0x80,1,2", False),
        # Its length is none, its place has a relocation, or it is the end of a sequence, cut short.
        (".byte 0,0,0x80", ".byte 0,0,0x80", False),
        (".byte 0,9,0x81\n .quad .L2", ".byte 0,9,0x81\n .quad .L2", False),
        (".byte 0,2,1,0", ".byte 0,2,1,0", False),
    ],
)
def test_an_operation_of_a_vendors_own_is_passed_over_by_its_length(
    old: str, new: str, right: bool, variants: Variants
) -> None:
    assert verify(*variants(OWN_OPERATION, OPERATION=(old, new))).verified == right
