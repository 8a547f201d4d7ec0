"""Rewriters with one mistake, whose outputs are consistent otherwise: each output is flagged.

Damaged bytes (damage.py) leave a contradiction somewhere. A rewriter that is wrong throughout need
not: an instruction too many with everything moved to match, labels always on the other side of the
nop. So the rewriter itself is damaged here, one function at a time.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nopfix
from nopfix.dwarf.offset_map import OffsetMap
from nopfix.rewriter import pipeline
from nopfix.rewriter.layout import code, layout, plan
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.power import instruction
from nopfix.rewriter.references import moves
from nopfix.verifier import Unreadable, verify

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent / "data"
INPUTS = {p.name.removesuffix(".in.o"): p.read_bytes() for p in sorted(DATA.glob("*.in.o"))}
#: Conditional branches that no longer reach, one that has an inverse and one that hasn't.
FAR = ".abiversion 2\n.text\n.type g, @function\ng: blr\n.size g, .-g" + "".join(
    f"""
    .type {name}, @function
{name}:  .cfi_startproc
    {branch},.L{name}
    bl g
    .rept 8189
    addi 9,9,1
    .endr
.L{name}:
    blr
    .cfi_endproc
    .size {name}, .-{name}
"""
    for name, branch in (("f", "beq+ 5"), ("h", "bdnzt lt"))
)


def flagged(old: bytes, new: bytes) -> bool:
    try:
        return not verify(old, new).verified
    except Unreadable:
        return True


def _nothing(*arguments: Any) -> None:
    return None


def _off_by_4(real: Callable[..., list[int]]) -> Callable[..., list[int]]:
    return lambda word, place, target: real(word, place, target + 4)


#: What is wrong: the object that holds the function, its name, what stands there instead.
MISTAKES: dict[str, tuple[Any, str, Any]] = {
    "return addresses are behind the slot": (OffsetMap, "before", OffsetMap.after),
    "ends are in front of the slot": (OffsetMap, "after", OffsetMap.before),
    "targets are in front of the slot": (OffsetMap, "start", OffsetMap.before),
    "branches stay": (code, "_move_branches", _nothing),
    "tables stay": (code, "_move_differences", _nothing),
    "symbols stay": (moves, "symbol_table", _nothing),
    "relocations stay": (moves, "relocation_table", _nothing),
    "the slot is another no-op": (layout, "NOP", 0x60210000),
    "padding is another no-op": (layout, "fill", lambda size, last: bytes(size)),
    "a grown branch isn't inverted": (instruction, "inverted", lambda word: word),
    "a grown branch goes elsewhere": (layout, "expansion", None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_rewriter_with_one_mistake_is_caught(
    mistake: str, assemble: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = INPUTS | {"far": assemble(FAR)}
    right = {name: nopfix.rewrite(old).data for name, old in inputs.items()}
    assert not any(flagged(inputs[name], bytes(new)) for name, new in right.items())
    module, function, wrong = MISTAKES[mistake]
    if wrong is None:
        wrong = _off_by_4(code.expansion)
        module, function = code, "expansion"
    monkeypatch.setattr(module, function, wrong)
    differing, missed = 0, []
    for name, old in inputs.items():
        try:
            new = bytes(nopfix.rewrite(old).data)
        except nopfix.Refusal:
            continue
        if new != right[name]:
            differing += 1
            if not flagged(old, new):
                missed.append(name)
    assert differing, "no object shows this mistake"
    assert missed == []


@pytest.mark.parametrize("name", INPUTS)
def test_a_nop_too_many_is_caught_wherever_it_is(name: str) -> None:
    """Everything is moved to match, so that no other fact is wrong."""
    old = INPUTS[name]
    program = Program(elf.read(old))
    analysis, sections, claimants = pipeline.take_apart(program)
    claimed = claimants.all()
    planned = plan.slots(program, sections, analysis, claimed, pipeline.DEFAULT_OPTIONS)
    slots = [(number, offset) for number, offsets in planned.slots.items() for offset in offsets]
    places = [(n, 4 * i) for n in program.code for i in range(1, len(program.words(n)))]
    chosen = random.Random(1).sample(places, min(len(places), 25)) + slots[:3]
    missed = []
    for extra in chosen:
        try:
            new = bytes(nopfix.rewrite(old, insertions=[*slots, extra]).data)
        except nopfix.Refusal:
            continue
        if not flagged(old, new):
            missed.append(extra)
    assert missed == []
