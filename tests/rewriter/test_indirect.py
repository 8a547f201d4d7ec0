"""The backward slice: what registers hold, on every path, through spills and merges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rewriter import Refusal, data_in_code, elf

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = """
 .align 2
.Lt: .long .La-.Lt
 .long .Lb-.Lt
.La: bl g
 nop
 b .Lhead
.Lb: ld 28,-32(1)
 blr
 .size f,.-f
 .section .toc,"aw"
.LC0: .quad .Lt
"""

HEAD = " .abiversion 2\n .type f,@function\nf:\n"
JUMP = " sldi 9,3,2\n lwax 9,28,9\n add 9,9,28\n mtctr 9\n bctr\n"


def explain(data: bytes) -> str:
    obj = elf.read(data)
    code = [s.number for s in obj.sections if s.flags & elf.SHF_EXECINSTR]
    (branch,) = data_in_code.analyse(obj, code).branches
    return branch.explain()


def test_a_base_hoisted_out_of_a_loop_survives_calls(assemble: Callable[..., bytes]) -> None:
    text = HEAD + " std 28,-32(1)\n ld 28,.LC0@toc(2)\n.Lhead:\n" + JUMP + TABLE
    assert "distances at .text+0x1c, 2 entries up to a label" in explain(assemble(text))


def test_paths_that_give_different_bases_are_refused(assemble: Callable[..., bytes]) -> None:
    base = " ld 28,.LC0@toc(2)\n cmpwi 3,1\n beq .Lhead\n mr 28,4\n.Lhead:\n"
    with pytest.raises(Refusal, match="can't be followed"):
        explain(assemble(HEAD + base + JUMP + TABLE))


def test_a_base_that_changes_in_a_loop_is_refused(assemble: Callable[..., bytes]) -> None:
    base = " ld 28,.LC0@toc(2)\n.Lhead: addi 28,28,4\n cmpwi 4,0\n bne .Lhead\n"
    with pytest.raises(Refusal, match="can't be followed"):
        explain(assemble(HEAD + base + JUMP + TABLE))


def test_clang_large_model_distances_from_a_label_are_proved(
    assemble: Callable[..., bytes],
) -> None:
    text = (
        HEAD
        + " cmplwi 3,1\n bgt .Lb\n bl .+4\n.Lp: mflr 5\n ld 6,.LC0@toc(2)\n rldic 3,3,2,30\n"
        + " lwax 3,3,6\n add 3,3,5\n mtctr 3\n bctr\n.La: li 3,1\n.Lb: blr\n .size f,.-f\n"
        + ' .section .rodata\n.Lt: .long .La-.Lp, .Lb-.Lp\n .section .toc,"aw"\n.LC0: .quad .Lt\n'
    )
    assert "label differences at .rodata+0x0, 2 entries" in explain(assemble(text))


def test_a_jump_through_the_link_register_is_not_a_return(assemble: Callable[..., bytes]) -> None:
    text = HEAD + " ld 28,.LC0@toc(2)\n.Lhead:\n"
    jump = JUMP.replace("mtctr 9", "mtlr 9").replace("bctr", "blr")
    assert "2 entries" in explain(assemble(text + jump + TABLE))
