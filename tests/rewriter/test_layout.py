from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.layout import layout
from nopfix.rewriter.layout.layout import Alignment
from nopfix.rewriter.options import Options
from nopfix.rewriter.power.fill import Style
from nopfix.rewriter.power.instruction import Branch

if TYPE_CHECKING:
    from tests.conftest import Assemble

NOP = 0x60000000
GROUP = 0x60420000
STYLE = Style(GROUP, jumps=True)


def lay_out(
    size: int,
    slots: list[int],
    alignments: list[Alignment] | None = None,
    branches: dict[int, tuple[int, int]] | None = None,
) -> layout.Layout:
    words = [0x38600000] * (size // 4)
    for place, (word, _) in (branches or {}).items():
        words[place // 4] = word
    targets = [Branch(place, target) for place, (_, target) in (branches or {}).items()]
    return layout.lay_out(words, slots, alignments or [], targets, STYLE, ".text")


def test_padding_shrinks_by_what_was_inserted_before_it() -> None:
    moved = lay_out(64, [8], [Alignment(20, 32, 16)]).map
    assert (moved.after(20), moved.start(32)) == (24, 32)


def test_padding_grows_by_a_whole_alignment_when_it_runs_out() -> None:
    moved = lay_out(64, [8], [Alignment(32, 32, 16)]).map
    assert (moved.after(32), moved.start(32)) == (36, 48)


def test_a_call_at_the_very_end_keeps_its_slot_in_front_of_the_padding() -> None:
    moved = lay_out(64, [32], [Alignment(32, 32, 16)]).map
    assert (moved.before(32), moved.after(32), moved.start(32)) == (32, 36, 48)


def test_prefixed_instructions_stay_clear_of_the_boundary_and_their_labels_in_front() -> None:
    moved = lay_out(128, [8], [Alignment(56, 56, 0)]).map
    assert moved.place(56) == 64
    assert moved.start(56) == 60
    assert moved.start(64) == 72


def test_a_prefixed_instruction_that_moved_off_the_boundary_loses_its_nop() -> None:
    moved = lay_out(128, [8], [Alignment(60, 64, 0)]).map
    assert moved.start(64) == 64
    assert moved.start(68) == 68


BEQ = 0x41820000
FAR = 0x8000


def test_a_branch_that_just_reaches_stays_as_it_is() -> None:
    found = lay_out(FAR + 64, [8], branches={0: (BEQ, FAR - 8)})
    assert found.expanded == []


def test_a_branch_pushed_over_its_limit_grows() -> None:
    found = lay_out(FAR + 64, [8], branches={0: (BEQ, FAR - 4)})
    assert found.expanded == [Branch(0, FAR - 4)]
    assert found.map.start(4) == 8


def test_one_expansion_can_push_the_next_branch_over_its_limit() -> None:
    alone = {0: (BEQ, FAR - 8)}
    assert lay_out(FAR + 64, [8], branches=alone).expanded == []
    both = alone | {4: (BEQ, FAR)}
    found = lay_out(FAR + 64, [8], branches=both)
    assert sorted(found.expanded) == [Branch(0, FAR - 8), Branch(4, FAR)]


def test_the_expansion_of_an_invertible_branch_is_its_inverse_over_a_branch() -> None:
    assert layout.expansion(BEQ, 0x100, 0x9100) == [0x40820008, 0x48008FFC]


def test_a_branch_that_cannot_be_inverted_goes_to_a_branch_of_its_own() -> None:
    bdnzt = 0x41020000
    assert layout.expansion(bdnzt, 0x100, 0x9100) == [0x41020008, 0x48000008, 0x48008FF8]


def test_a_conditional_call_out_of_reach_is_refused() -> None:
    with pytest.raises(Refusal) as refused:
        lay_out(FAR + 64, [8], branches={0: (BEQ | 1, FAR - 4)})
    assert (refused.value.section, refused.value.offset) == (".text", 0)


B_LIMIT = 0x02000000


@pytest.mark.parametrize("link", [0, 1], ids=["b", "bl"])
def test_an_unconditional_branch_beyond_32_mib_is_refused_and_one_just_inside_is_not(
    link: int,
) -> None:
    words = array("I", [NOP]) * ((B_LIMIT + 64) // 4)
    words[0] = words[1] = 0x48000000 | link

    def lay_out(target: int) -> layout.Layout:
        return layout.lay_out(words, [8], [], [Branch(0, target)], STYLE, ".text")

    assert lay_out(B_LIMIT - 8).expanded == []
    with pytest.raises(Refusal, match="longer than 32 MiB"):
        lay_out(B_LIMIT - 4)


@pytest.mark.parametrize("target", [-4, 68])
def test_a_branch_that_leaves_its_section_is_refused(target: int) -> None:
    assert lay_out(64, [8], branches={0: (BEQ, 64)}).expanded == []
    with pytest.raises(Refusal, match="outside its section"):
        lay_out(64, [8], branches={0: (BEQ, target)})


def test_prefixed_instructions_stay_off_a_boundary_whatever_else_is_shifted_only(
    assemble: Assemble,
) -> None:
    text = "    .abiversion 2\nf:  mflr 0\n    bl ext\n    SLOT\n"
    text += 12 * "    li 4,0\n" + "    pld 3,16(4)\n    blr\n"
    plain = assemble(text.replace("SLOT", ""), "-mpower10")
    wanted = assemble(text.replace("SLOT", "nop"), "-mpower10")
    assert rewrite(plain, Options(realign=False)).data == wanted
