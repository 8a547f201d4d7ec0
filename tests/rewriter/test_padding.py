from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.corpus import compare
from nopfix.rewriter.layout import padding
from nopfix.rewriter.layout.layout import Alignment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PREFIX = "powerpc64le-linux-gnu-"
NOP = 0x60000000
GROUP = 0x60420000
LI = 0x38600000
BLR = 0x4E800020


def label_alignments(words: list[int], **other: set[int]) -> list[Alignment]:
    return padding.label_alignments(words, padding.Labels({16}, **other), 16, None)


def test_nops_in_front_of_an_aligned_branch_target_are_padding() -> None:
    assert label_alignments([LI, LI, NOP, GROUP, LI]) == [Alignment(8, 16, 16)]


def test_a_nop_that_somebody_has_a_claim_to_is_code() -> None:
    assert label_alignments([LI, LI, NOP, GROUP, LI], kept={8}) == []


def test_behind_a_probes_no_op_padding_begins_and_behind_others_it_may_be_theirs() -> None:
    words = [LI, NOP, NOP, GROUP, LI]
    assert label_alignments(words, kept={4}, probes={4}) == [Alignment(8, 16, 16)]
    assert label_alignments(words, kept={4, 8}, probes={8}) == [Alignment(12, 16, 16)]
    assert label_alignments(words, kept={4}) == []


def test_a_way_may_lead_to_what_padding_begins_with() -> None:
    def aligned(*ways: int) -> list[Alignment]:
        words = [LI, NOP, NOP, GROUP, LI]
        return padding.label_alignments(words, padding.Labels({16, *ways}), 16, None)

    assert aligned() == aligned(4) == [Alignment(4, 16, 16)]
    assert aligned(8) == aligned(4, 8) == [Alignment(8, 16, 16)]
    assert aligned(12) == [Alignment(12, 16, 16)]


SDT = (
    '.Lk: nop\n.pushsection .note.stapsdt,"?","note"\n.4byte 8,24,3\n.asciz "stapsdt"\n'
    ".8byte .Lk,0,0\n.popsection\n"
)
LOOP = """.abiversion 2
.type g,@function
g: li 3,1; blr
.size g,.-g
.p2align 4
.type f,@function
f: addis 2,12,.TOC.-f@ha; addi 2,2,.TOC.-f@l; .localentry f,.-f
bl g; SLOT {before} bl g; SLOT cmpwi 3,7; beq .Lx; blt .Lz
{claim}{label}.p2align 4
.Lloop: addi 3,3,1; cmpwi 3,5; blt .Lloop
bl g; SLOT blr
.Lz: li 3,3; b .Lx
.size f,.-f
"""


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("claim", ["", SDT], ids=["", "probe"])
@pytest.mark.parametrize("label", [".Lx:\n", "li 6,6\n.Lx: li 7,7\n"], ids=["at", "before"])
def test_a_loop_behind_a_label_or_a_probe_stays_aligned(
    assemble: Callable[..., bytes],
    equal: Callable[[bytes, bytes], bool],
    count: int,
    claim: str,
    label: str,
) -> None:
    # Where the loop needed no padding, nothing shows that it was meant to be aligned.
    words = 7 + count + bool(claim) + 2 * label.startswith("li")
    text = LOOP.format(before="li 5,2;" * (count + (words % 4 == 0)), claim=claim, label=label)
    plain, want = (assemble(text.replace("SLOT", slot)) for slot in ("", "nop;"))
    assert equal(bytes(rewrite(plain).data), want)


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


def test_labels_are_aligned_to_more_than_loops_where_a_padding_shows_it() -> None:
    def padded(nops: int) -> list[int]:
        words = [NOP] * (nops - 1) + [GROUP]
        if nops > 4:
            words[0] = 0x48000000 + 4 * nops  # gas jumps over long padding
        return [LI] * (16 - nops) + words

    def alignments(words: list[int], section: int, *places: int) -> list[tuple[int, int]]:
        found = padding.label_alignments(words, padding.Labels(places, set(places)), section, None)
        return [(label.start - label.padding, label.alignment) for label in found]

    short, long, longest = padded(3), padded(9), padded(16)
    assert alignments(short + short, 64, 64, 128) == [(12, 32), (12, 32)]
    assert alignments(short + long, 64, 64, 128) == [(12, 64), (36, 64)]
    assert alignments(short + long, 32, 64, 128) == [(12, 32)]
    assert alignments([LI] * 16 + longest, 128, 128) == [(64, 128)]
    assert alignments([LI] * 16 + longest, 64, 128) == []


def test_more_nops_than_padding_could_be_are_code() -> None:
    assert label_alignments([NOP, NOP, NOP, NOP, LI]) == []


def test_the_assemblers_processor_shows_in_its_padding() -> None:
    words = [LI, BLR, NOP, GROUP, LI]
    assert padding.last_word_of(words, [Alignment(8, 16, 16)]) == GROUP
    assert padding.last_word_of([LI, BLR, NOP, NOP, LI], [Alignment(8, 16, 16)]) == NOP
    assert padding.last_word_of(words, [Alignment(8, 8, 16)]) is None


def test_plain_no_ops_between_the_sections_of_two_objects_are_the_linkers(tmp_path: Path) -> None:
    """``ld -r`` fills with plain no-ops what gas would end with one that ends a group."""
    one = " .abiversion 2\n .section .text.f\n .p2align 4\n .type f,@function\nf: li 3,1\n blr\n"
    other = (
        " .abiversion 2\n .section .text.f\n .p2align 4\n .globl i\n .type i,@function\n"
        "i: li 3,1\n blr\n .size i,.-i\n .p2align 4\n .globl g\n .type g,@function\n"
        "g: mflr 0\n bl f{slot}\n mtlr 0\n blr\n .size g,.-g\n .p2align 4\n"
        " .globl h\n .type h,@function\nh: mflr 0\n bl k{slot}\n mtlr 0\n blr\n .size h,.-h\n"
    )
    links = []
    for slot in ("", "\n nop"):
        names = []
        for name, text in (("one", one + " .size f,.-f\n"), ("other", other.format(slot=slot))):
            path = tmp_path / f"{name}.o"
            command = (f"{PREFIX}as", "-mpower8", "-a64", "-mlittle", "-o", path)
            subprocess.run(command, input=text, text=True, check=True)
            names.append(path)
        command = (f"{PREFIX}ld", "-EL", "-m", "elf64lppc", "-r", "-o", tmp_path / "l.o", *names)
        subprocess.run(command, check=True)
        links.append((tmp_path / "l.o").read_bytes())
    plain, want = links
    got = bytes(rewrite(plain).data)
    assert compare.differences(got, want) == []


def test_long_padding_shows_whether_it_is_jumped_over() -> None:
    gap = [Alignment(4, 24, 32)]
    assert padding.jumps_over([BLR, 0x48000014, NOP, NOP, NOP, GROUP, LI], gap) is True
    assert padding.jumps_over([BLR, NOP, NOP, NOP, NOP, NOP, LI], gap) is False
    assert padding.jumps_over([BLR, NOP, NOP, LI], [Alignment(4, 12, 16)]) is None


def test_what_the_compiler_was_told_is_read_from_its_options() -> None:
    told = padding.told_alignment
    assert told(b"GNU C17 12.2.0 -O2 -falign-functions=32 -fPIC\0int\0") == 32
    assert told(b"GNU C17 14.2.0 -O2 -fmin-function-alignment=64\0int\0") == 64
    for without in (b"-falign-functions", b"-falign-functions=24", b"-falign-functions=32:16", b""):
        assert told(b"GNU C17 12.2.0 -O2 " + without + b"\0int\0") == 0
