"""Blocks and edges: no way into a block is overlooked, and dead words lead nowhere."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from nopfix.rewriter.object import elf
from nopfix.rewriter.proof import control_flow
from nopfix.rewriter.proof.control_flow import Fragment, Graph, Roots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOURCE = """
f: cmpwi 3,0
 beq 1f
 bl f
 b 2f
1: li 3,1
2: blr
 .long 0x20
3: b 2b
"""


def graph(data: bytes, landing_pads: Mapping[int, int] = MappingProxyType({})) -> tuple[Graph, int]:
    obj = elf.read(data)
    text = next(s.number for s in obj.sections if s.name == ".text")
    words = elf.column(obj.contents(text), "I")
    fragment = Fragment(text, 0, 4 * len(words), words, (), (), lambda _: None)
    none: frozenset[tuple[int, int]] = frozenset()
    pads = {(text, pad): [(text, call)] for pad, call in landing_pads.items()}
    roots = Roots(frozenset({(text, 0)}), none, none, (), pads)
    return Graph([control_flow.find_jumps(fragment)], roots, {}), text


def before(found: Graph, text: int, offset: int) -> list[int]:
    return sorted(block.start for block in found.predecessors(found.block_at((text, offset))))


def test_a_block_is_entered_by_branches_and_from_above(assemble: Callable[..., bytes]) -> None:
    found, text = graph(assemble(SOURCE))
    assert before(found, text, 0) == []
    assert before(found, text, 8) == [0]
    assert before(found, text, 16) == [0]
    assert before(found, text, 20) == [8, 16]


def test_words_that_nothing_leads_to_lead_nowhere(assemble: Callable[..., bytes]) -> None:
    found, text = graph(assemble(SOURCE))
    assert found.is_dead(found.block_at((text, 24)))
    assert 24 not in before(found, text, 20)


def test_a_landing_pad_is_entered_from_its_calls_though_it_looks_dead(
    assemble: Callable[..., bytes],
) -> None:
    source = SOURCE.replace(" .long 0x20\n", "")
    found, text = graph(assemble(source), landing_pads={24: 8})
    assert found.calls_into(found.block_at((text, 24))) == [(text, 8)]
    assert before(found, text, 20) == [8, 16, 24]


def test_a_branch_that_sets_lr_inside_its_function_is_an_edge_and_comes_back(
    assemble: Callable[..., bytes],
) -> None:
    found, text = graph(assemble(" nop\n bcl 20,31,1f\n li 3,1\n blr\n1: li 3,2\n blr\n"))
    assert before(found, text, 8) == [0]
    assert before(found, text, 16) == [0]


def test_a_fragment_holds_places_of_its_own_section_only() -> None:
    fragment = Fragment(1, 4, 12, [0] * 4, (), (), lambda _: None)
    assert [fragment.holds((1, at)) for at in (0, 4, 8, 12)] == [False, True, True, False]
    assert not fragment.holds((2, 4))


def test_what_a_prefixed_instruction_addresses_is_a_label_unless_a_relocation_fills_it() -> None:
    words = [0x06100000, 0x38600008, 0x4E800020]  # pla 3,8; blr
    for relocated, labels in (((), {(1, 8)}), ((0,), set())):
        found = control_flow.find_jumps(Fragment(1, 0, 12, words, (), relocated, lambda _: None))
        assert found.labels == labels
        assert found.suffixes == {(1, 4)}
    # Cut off by data: what is behind it isn't its second half.
    cut = control_flow.find_jumps(Fragment(1, 0, 12, words, ((4, 12),), (), lambda _: None))
    assert cut.labels == frozenset()
