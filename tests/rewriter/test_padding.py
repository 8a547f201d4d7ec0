from __future__ import annotations

from nopfix.rewriter.layout import padding
from nopfix.rewriter.layout.layout import Alignment
from nopfix.rewriter.object.program import Functions

NOP = 0x60000000
GROUP = 0x60420000
LI = 0x38600000
BLR = 0x4E800020


def test_the_gap_between_functions_is_padding_if_it_is_exactly_the_assemblers() -> None:
    words = [LI, BLR, NOP, GROUP, LI, BLR, LI, LI, BLR]
    functions = Functions([0, 16, 32], [8, 24, 36], ["f", "g", "h"])
    gaps = padding.function_gaps(words, functions, [])
    assert gaps == [Alignment(8, 16, 1), Alignment(32, 32, 1)]


def test_what_somebody_names_in_a_gap_begins_the_function() -> None:
    words = [LI, BLR, NOP, NOP, NOP, LI, BLR]
    functions = Functions([0, 20], [8, 28], ["f", "g"])
    assert padding.function_gaps(words, functions, [], {16}) == [Alignment(8, 16, 1)]
    assert padding.function_gaps(words, functions, [], {8, 16}) == [Alignment(8, 8, 1)]


def test_functions_that_share_a_gap_size_share_the_alignment() -> None:
    gaps = [Alignment(8, 16, 1), Alignment(32, 32, 1), Alignment(60, 64, 1)]
    found = padding.function_alignments(gaps, 16, has_aligned_data=False)
    assert [gap.alignment for gap in found] == [16, 16, 16]


def test_functions_off_the_grid_are_not_aligned() -> None:
    gaps = [Alignment(20, 20, 1), Alignment(32, 32, 1)]
    assert padding.function_alignments(gaps, 16, has_aligned_data=False) == []


def test_functions_account_for_a_sections_alignment_that_loops_do_not() -> None:
    gaps = [Alignment(56, 64, 1), Alignment(192, 192, 1)]
    found = padding.function_alignments(gaps, 64, has_aligned_data=False)
    assert [gap.alignment for gap in found] == [64, 64]
    found = padding.function_alignments(gaps, 32, has_aligned_data=False)
    assert [gap.alignment for gap in found] == [16, 16]
    off = [*gaps, Alignment(204, 208, 1)]
    found = padding.function_alignments(off, 64, has_aligned_data=False)
    assert [gap.alignment for gap in found] == [16, 16, 16]


def test_alignment_is_capped_by_the_sections_own() -> None:
    gaps = [Alignment(64, 64, 1)]
    assert padding.function_alignments(gaps, 4, has_aligned_data=False) == []


def label_alignments(words: list[int], **other: set[int]) -> list[Alignment]:
    return padding.label_alignments(words, padding.Labels({16}, **other), 16, None)


def test_nops_in_front_of_an_aligned_branch_target_are_padding() -> None:
    assert label_alignments([LI, LI, NOP, GROUP, LI]) == [Alignment(8, 16, 16)]


def test_a_nop_that_somebody_has_a_claim_to_is_code() -> None:
    assert label_alignments([LI, LI, NOP, GROUP, LI], kept={8}) == []


def test_the_slot_of_a_call_is_not_padding() -> None:
    assert label_alignments([LI, LI, NOP, NOP, LI], slots={8}) == [Alignment(12, 16, 16)]
    assert label_alignments([LI, LI, LI, NOP, LI], slots={12}) == []


def test_padding_behind_a_slot_is_as_long_as_padding_can_be() -> None:
    assert label_alignments([NOP, NOP, NOP, GROUP, LI], slots={0}) == [Alignment(4, 16, 16)]


def test_labels_on_a_coarser_boundary_by_chance_are_aligned_like_the_others() -> None:
    words = [LI, LI, LI, GROUP, *[LI] * 3, GROUP, *[LI] * 7, GROUP, LI]

    def alignments(loops: set[int], *labels: int) -> list[int]:
        found = padding.label_alignments(words, padding.Labels(labels, loops), 32, None)
        return [label.alignment for label in found]

    assert alignments(set(), 16, 32) == [16, 16]
    assert alignments({16}, 16, 32) == [16, 32]
    assert alignments({32}, 16, 32) == [16, 32]
    assert alignments(set(), 32, 64) == [32, 32]


def test_more_nops_than_padding_could_be_are_code() -> None:
    assert label_alignments([NOP, NOP, NOP, NOP, LI]) == []


def test_the_assemblers_processor_shows_in_its_padding() -> None:
    words = [LI, BLR, NOP, GROUP, LI]
    assert padding.last_word_of(words, [Alignment(8, 16, 16)]) == GROUP
    assert padding.last_word_of([LI, BLR, NOP, NOP, LI], [Alignment(8, 16, 16)]) == NOP
    assert padding.last_word_of(words, [Alignment(8, 8, 16)]) is None


def test_long_padding_shows_whether_it_is_jumped_over() -> None:
    gap = [Alignment(4, 24, 32)]
    assert padding.jumps_over([BLR, 0x48000014, NOP, NOP, NOP, GROUP, LI], gap) is True
    assert padding.jumps_over([BLR, NOP, NOP, NOP, NOP, NOP, LI], gap) is False
    assert padding.jumps_over([BLR, NOP, NOP, LI], [Alignment(4, 12, 16)]) is None
