"""Indexes that are tried: in gas text, what reaches every entry and what leaves some out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter.proof import trials
from tests.rewriter.tables import reason, refused
from tests.rewriter.test_steps import text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Assemble = Callable[..., bytes]

FIFTH = "lis 5,-13108\n ori 5,5,52429\n"
"""r5 is 4/5 times 2 to the 32nd."""
TIMES_FIVE = "sldi 6,5,2\n add 5,5,6\n"
REST = f"{FIFTH} mulhwu 5,3,5\n srwi 5,5,2\n {TIMES_FIVE} subf 3,5,3\n"
ALL = {
    "a rest": (REST, 5),
    "a rest of a byte": (
        "clrldi 3,3,56\n mulli 5,3,205\n srwi 5,5,10\n mulli 5,5,5\n subf 3,5,3", 5),
    "a rest of what was loaded": (f"lbz 3,0(4)\n {REST}", 5),
    "a rest of what was loaded with its sign": (f"lha 3,0(4)\n {REST}", 5),
    "a rest of a call's result": (f"bl g\n nop\n {REST}", 5),
    "a rest, spilled": (f"{REST} stw 3,-8(1)\n lwz 3,-8(1)", 5),
    "a rest of what was spilled, in part": (f"stw 3,-8(1)\n lbz 3,-8(1)\n {REST}", 5),
    "a rest, spilled in part": (f"{REST} stw 3,-8(1)\n lha 3,-8(1)", 5),
    "a rest by a prefixed number": (f"pli 5,0xcccccccd\n {REST.removeprefix(FIFTH)}", 5),
    "a rest of what comes round": (f"li 3,0\n0: addi 3,3,1\n cmpwi 4,9\n beq 0b\n {REST}", 5),
    "the rest of a division": ("divwu 5,3,4\n mullw 5,5,4\n subf 3,5,3", 24),
    "the rest of a division of doublewords": ("divd 5,3,4\n mulld 5,4,5\n subf 3,5,3", 24),
    "a rest of the processor's": ("moduw 3,3,4", 24),
    "a quotient by a power of 2": (
        "clrldi 3,3,56\n srawi 3,3,4\n addze 3,3", 16),
    "a minimum": ("cmplwi 3,23\n ble 0f\n li 3,23\n0: xori 3,3,0", 24),
    "zero or a rest": (f"{REST} cmpwi 4,0\n isel 3,0,3,2", 5),
    "one of two rests": ("moduw 3,3,5\n moduw 4,4,5\n cmpwi 6,0\n isel 3,3,4,2", 5),
    "a bit of the condition register": ("cmpwi 3,0\n setbc 3,2", 2),
    "a difference of two bits": ("cmpwi 3,0\n setbc 3,0\n setnbc 4,1\n subf 3,4,3", 3),
    "a number of bits": ("clrldi 3,3,41\n popcntd 3,3", 24),
    "a bit's place": ("oris 3,3,0x80\n neg 4,3\n and 3,3,4\n cntlzd 3,3\n subfic 3,3,63", 24),
    "bits of several": ("clrldi 3,3,62\n rlwimi 3,4,2,28,29", 16),
    "bits of a sum": ("mulli 3,3,31\n add 3,3,4\n not 3,3\n nor 3,3,3", 24),
    "a hash": (f"{FIFTH} mullw 3,3,5\n srwi 3,3,28\n xori 3,3,0", 16),
    "a hash of a doubleword": (
        "lis 5,-25033\n ori 5,5,31161\n sldi 5,5,32\n oris 5,5,32586\n ori 5,5,31765\n"
        " mulld 3,3,5\n srdi 3,3,60\n xori 3,3,0", 16),
}  # fmt: skip
NOT_ALL = {
    "a rest of one less": (REST, 6),
    "a rest of a product": (f"mulli 3,3,5\n {REST}", 5),
    "a rest of one shift less": (REST.replace("srwi 5,5,2", "srwi 5,5,1"), 5),
    "a rest by what has another sign": (REST.replace("mulhwu", "mulhw"), 5),
    "twice a rest": (f"{REST} slwi 3,3,1", 5),
    "three times a number, spilled in part":
        ("mulli 3,3,3\n xori 3,3,0\n stw 3,-8(1)\n lbz 3,-8(1)", 24),
    "a rest, spilled elsewhere": (f"{REST} stw 3,-8(1)\n lwz 3,-6(1)\n xori 3,3,1", 5),
    "a rest that others may have changed": (
        f"{REST} stw 3,-8(1)\n addi 5,1,-8\n bl g\n nop\n lwz 3,-8(1)", 5),
    "what is rounded by another shift": (
        "srawi 3,3,4\n srawi 4,4,2\n addze 3,3", 16),
    "what is rounded behind a call": ("srawi 31,3,4\n bl g\n nop\n addze 3,31", 16),
    "what is rounded at a label": ("srawi 3,3,4\n0: addze 3,3\n cmpwi 4,0\n beq 0b", 16),
    "a product with what isn't known": ("mulld 3,3,4", 24),
    "a product with a quotient by another": ("divwu 5,3,6\n mullw 5,5,4\n subf 3,5,3", 24),
    "a product with a quotient by the other's dividend":
        ("divwu 5,4,3\n mullw 5,5,4\n subf 3,5,3", 24),
    "what is shifted by what isn't known": ("slw 3,3,4", 24),
    "some bits": ("andi. 3,3,5\n xori 3,3,0", 8),
    "odd numbers": ("slwi 3,3,1\n ori 3,3,1", 24),
    "one of two products": (
        "mulli 3,3,2\n mulli 4,4,3\n cmpwi 5,0\n isel 3,3,4,2\n xori 3,3,0", 24),
    "one of a product and a rest": (f"{REST} mulli 4,4,3\n cmpwi 5,0\n isel 3,3,4,2", 5),
    "the low bits of a product with a small number": (
        "mulli 3,3,3\n xori 3,3,0\n clrldi 3,3,59", 24),
    "the low bits of three times a number, beside a hash": (
        f"{FIFTH} mullw 4,4,5\n srwi 4,4,31\n mulli 4,4,12\n"
        " mulli 3,3,3\n clrldi 3,3,59\n add 3,4,3", 24),
    "a part of the low bits of three times a number": (
        "mulli 3,3,12\n clrldi 3,3,56\n srdi 3,3,2", 4),
    "what is computed with a carry": ("subfc 3,3,4\n subfe 3,3,3\n neg 3,3", 2),
    "an address": ("addis 3,2,u@toc@ha\n addi 3,3,u@toc@l\n xori 3,3,0", 24),
    "what an update left": ("lwzu 5,8(3)\n xori 3,3,0", 24),
}  # fmt: skip


def test_indexes_that_nothing_is_found_of_cost_little_each(
    assemble: Assemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many of them are twice the work, and little where a few took what is allowed."""
    spent = []
    run = trials._run

    def counting(
        terms: Sequence[trials._Term], values: Sequence[int], end: int, meter: trials._Meter
    ) -> int:
        spent[-1] += len(terms)
        return run(terms, values, end, meter)

    monkeypatch.setattr(trials, "_run", counting)
    monkeypatch.setattr(trials, "_MOST_TERMS_RUN", 20000)
    monkeypatch.setattr(trials, "_FEW_TERMS_RUN", 500)
    jump = f"{REST} slwi 3,3,1\n sldi 3,3,2\n lwax 8,9,3\n add 8,8,10\n mtctr 8\n bctr\n"
    for tables in (8, 16, 32):
        spent.append(0)
        choice = "".join(f" cmpwi 7,{number}\n beq .L{number}\n" for number in range(tables))
        jumps = "".join(f".L{number}: {jump}" for number in range(tables))
        first = text(f"{choice} {REST} slwi 3,3,1\n sldi 3,3,2")
        assert "in between" in refused(assemble(first.replace(" bctr\n", f" bctr\n{jumps}", 1)))
    eight, sixteen = spent[1] - spent[0], spent[2] - spent[1]
    assert eight > 0
    assert sixteen < 3 * eight
    assert spent[0] < 20000 + 8 * 8 * 500


def source(code: str, count: int) -> str:
    return text(f"{code}\n sldi 3,3,2", size=4 * count)


@pytest.mark.parametrize(("code", "count"), ALL.values(), ids=ALL.keys())
def test_every_entry_is_reached_by(assemble: Assemble, code: str, count: int) -> None:
    assert reason(assemble(source(code, count), "-mpower10")) == (
        f"{count} entries, all of its symbol"
    )


@pytest.mark.parametrize(("code", "count"), NOT_ALL.values(), ids=NOT_ALL.keys())
def test_entries_are_left_out_by(assemble: Assemble, code: str, count: int) -> None:
    assert "with other things in between" in refused(assemble(source(code, count), "-mpower10"))
