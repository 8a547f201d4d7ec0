"""Time in proportion to the object: eight times as much takes about eight times as long.

A machine that does other work gives the same process up to twice the processor time from one
moment to the next, and a test that fails by that says nothing. So the limit lies where neither
noise nor proportion comes, half way (as factors go) between 8 and the 64 of a scan of everything
for each; small and large are timed one right after the other, and such a pair is taken again
before the test fails.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import nopfix

if TYPE_CHECKING:
    from collections.abc import Callable

    Assemble = Callable[..., bytes]

SMALL = 120
TIMES = 8
MOST = 22.0  # the square root of 8 times 64
PAIRS = 4

RETURNS = """\
 .type f{n},@function
f{n}: mflr 0
 bl outside
 mtlr 0
 blr
 .long 1
 .size f{n},.-f{n}
"""

SECTIONS = """\
 .section .text.f{n},"ax",@progbits
 .globl f{n}
 .type f{n},@function
f{n}: mflr 0
 bl first
 mtlr 0
 blr
 .size f{n},.-f{n}
"""

CALLED_WITH_RELOCATIONS = """\
 .globl f{n}
 .type f{n},@function
f{n}: mflr 0
 bl first
 mtlr 0
 b f{n}
 .size f{n},.-f{n}
"""

SWITCH = """\
 .type f{n},@function
f{n}: cmplwi 3,1
 bgt 9f
 addis 9,2,.Lt{n}@toc@ha
 addi 9,9,.Lt{n}@toc@l
 sldi 3,3,2
 lwax 3,9,3
 add 3,3,9
 mtctr 3
 bctr
 .align 2
"""

JUMP_LABELS = (
    SWITCH
    + """\
.Lt{n}: .long 0f-.Lt{n}, 1f-.Lt{n}
0: nop
 bl first
1: nop
9: blr
 .size f{n},.-f{n}
 .pushsection __jump_table,"aw"
 .long 0b - ., 1b - .
 .quad key - .
 .long 1b - ., 9b - .
 .quad key - .
 .popsection
"""
)

TABLES_BESIDE_OBJECTS = (
    SWITCH
    + """\
0: bl first
1: li 3,1
9: blr
 .size f{n},.-f{n}
 .pushsection .rodata
 .type o{n},@object
 .size o{n},4
o{n}: .long 1
.Lt{n}: .long 0b-.Lt{n}, 1b-.Lt{n}
 .popsection
"""
)

THREADED = """\
.Lop{n}: addi 5,5,{n}
 std 5,-8(1)
 bl first
 ld 6,-8(1)
 lbz 7,0(3)
 addi 3,3,1
 sldi 7,7,3
 ldx 7,29,7
 mtctr 7
 bctr
 .pushsection .data.rel.ro,"aw"
 .quad .Lop{n}
 .popsection
"""

BY_DIFFERENCES = """\
.Lop{n}: addi 5,5,{n}
 bl first
 lhz 7,0(3)
 addi 3,3,2
 sldi 7,7,2
 lwax 7,29,7
 add 7,7,28
 mtctr 7
 bctr
 .pushsection .rodata
 .long .Lop{n}-.Lop0
 .popsection
"""

RETURN_ADDRESSES = """\
 .type f{n},@function
f{n}: mflr 12
 bl first
 mflr 11
 cmpwi 3,{n}
 beq 1f
 bl first
1: mtlr 12
 blr
 .size f{n},.-f{n}
"""

SHAPES = {
    "functions with an unusual return and data": RETURNS,
    "sections": SECTIONS,
    "functions that others branch to": CALLED_WITH_RELOCATIONS,
    "functions with a switch and jump labels": JUMP_LABELS,
    "tables in data beside objects": TABLES_BESIDE_OBJECTS,
    "functions that return with a return address in a register": RETURN_ADDRESSES,
    "opcodes of an interpreter": THREADED,
    "opcodes of one that has differences": BY_DIFFERENCES,
}


def text(shape: str, count: int) -> str:
    head = " .abiversion 2\n .type first,@function\nfirst: blr\n .size first,.-first\n"
    if shape is THREADED:
        head += ' .section .data.rel.ro,"aw"\njump:\n .text\n .type run,@function\n'
        head += "run: addis 29,2,jump@toc@ha\n addi 29,29,jump@toc@l\n"
    if shape is BY_DIFFERENCES:
        head += " .section .rodata\n .type jump,@object\n .align 2\njump:\n .text\n"
        head += " .type run,@function\nrun: addis 29,2,jump@toc@ha\n addi 29,29,jump@toc@l\n"
        head += " addis 28,2,.Lop0@toc@ha\n addi 28,28,.Lop0@toc@l\n"
        head += f" .size jump,{4 * count}\n"
    return head + "".join(shape.replace("{n}", str(n)) for n in range(count))


def seconds(data: bytes) -> float:
    """Processor time of a rewrite."""
    start = time.process_time()
    assert nopfix.rewrite(data).report.insertions
    return time.process_time() - start


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_time_is_in_proportion_to_the_number_of(assemble: Assemble, shape: str) -> None:
    one, many = assemble(text(shape, SMALL)), assemble(text(shape, TIMES * SMALL))
    nopfix.rewrite(one)  # what is made at the first use belongs to neither
    ratios = (seconds(large) / seconds(small) for small, large in [(one, many)] * PAIRS)
    assert any(ratio < MOST for ratio in ratios)
