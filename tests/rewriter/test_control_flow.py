"""Blocks and edges: no way into a block is overlooked, and dead words lead nowhere."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter.object import elf
from nopfix.rewriter.proof import control_flow
from nopfix.rewriter.proof.control_flow import Fragment, Graph, Jumps, Roots

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


BRANCH_ENDS = {
    "a call through a register, which comes back": ("bctrl", {}),
    "a branch through a register": ("bctr", {0: (None, False)}),
    "a return on a condition": ("beqlr", {0: (None, True)}),
    "a return from an interrupt": ("rfid", {0: (None, False)}),
    "another instruction of its opcode": ("isync", {}),
    "a branch": ("b .+8; li 3,1", {0: (8, False)}),
    "a branch that a bit of CR decides on": ("bc 12,2,.+8; li 3,1", {0: (8, True)}),
    "a conditional branch on no condition": ("bc 20,0,.+8; li 3,1", {0: (8, False)}),
    "a branch to an address": ("ba 0x40", {0: (None, False)}),
    "a call of an address": ("bla 0x40", {}),
    "a call of what follows, which reads the address": ("bcl 20,31,.+4", {}),
    "a branch over no-ops": ("b .+12; nop; nop", {}),
    "a branch over something else": ("b .+12; nop; li 3,1", {0: (12, False)}),
    "a branch over no-ops behind something else": ("b .+12; li 3,1; nop", {0: (12, False)}),
}


@pytest.mark.parametrize(("code", "ends"), BRANCH_ENDS.values(), ids=BRANCH_ENDS.keys())
def test_a_block_ends_with(
    assemble: Callable[..., bytes], code: str, ends: Mapping[int, tuple[int | None, bool]]
) -> None:
    """Where the instruction leads, and whether what follows it is run as well."""
    found, text = jumps(assemble(f" {code}; nop; nop; nop\n"))
    assert found.ends == {
        (text, place): (None if to is None else (text, to), falls)
        for place, (to, falls) in ends.items()
    }


def jumps(data: bytes, filled: frozenset[int] = frozenset()) -> tuple[Jumps, int]:
    obj = elf.read(data)
    text = next(s.number for s in obj.sections if s.name == ".text")
    words = elf.column(obj.contents(text), "I")
    fragment = Fragment(text, 0, 4 * len(words), words, (), filled, lambda _: None)
    return control_flow.find_jumps(fragment), text


def test_a_call_that_a_relocation_fills_leads_nowhere_in_its_function(
    assemble: Callable[..., bytes],
) -> None:
    """Its field is zero until it's linked, or whatever the assembler left there."""
    data = assemble(" nop\n bl .+8\n nop\n blr\n")
    for filled, ends in ((frozenset[int](), {4, 12}), (frozenset({4}), {12})):
        found, _ = jumps(data, filled)
        assert {offset for _, offset in found.ends} == ends


def test_calls_alone_are_calls(assemble: Callable[..., bytes]) -> None:
    """Labels are entered from them; a prefix whose last bit is set is none."""
    code = " paddi 3,3,0x10000\n b .+4\n bl .+4\n bctrl\n bctr\n bcl 20,31,.+4\n"
    found, _ = jumps(assemble(code, "-mpower10"))
    assert [offset for _, offset in found.calls] == [12, 16, 24]


def test_only_the_words_of_a_fragment_are_looked_at(assemble: Callable[..., bytes]) -> None:
    words = [0x4E800020] * 6  # blr
    fragment = Fragment(1, 4, 12, words, ((0, 4), (16, 20)), (), lambda _: None)
    assert list(control_flow.find_jumps(fragment).ends) == [(1, 4), (1, 8)]


def test_a_branch_over_no_ops_to_behind_its_fragment_leads_there() -> None:
    """That is a tail call, of a function that begins with no-ops for one."""
    words = elf.column(memoryview(bytes.fromhex("100000480000006000000060000000602000804e")), "I")
    for end, ends in ((8, {(1, 0): ((1, 16), False)}), (20, {(1, 16): (None, False)})):
        fragment = Fragment(1, 0, end, words, (), (), lambda _: None)
        assert control_flow.find_jumps(fragment).ends == ends


def test_a_fragment_that_runs_on_leads_to_no_other_one() -> None:
    """One that ends with a call that doesn't come back, say."""
    words = [0x60000000] * 3 + [0x4E800020]  # nop; blr
    pieces = [
        control_flow.find_jumps(Fragment(1, start, start + 8, words, (), (), lambda _: None))
        for start in (0, 8)
    ]
    none: frozenset[tuple[int, int]] = frozenset()
    found = Graph(pieces, Roots(frozenset({(1, 0), (1, 8)}), none, none, (), {}), {})
    assert before(found, 1, 8) == []
    alone = Graph(pieces[1:], Roots(frozenset({(1, 8), (1, 12)}), none, none, (), {}), {})
    assert before(alone, 1, 8) == []


def test_what_is_patched_leads_on_and_where_it_led_too(assemble: Callable[..., bytes]) -> None:
    """The branch over XRay's sled, and into the sled once that is written over."""
    piece, text = jumps(assemble(" b .+12\n li 3,1\n blr\n li 3,2\n blr\n li 3,3\n blr\n"))
    none: frozenset[tuple[int, int]] = frozenset()
    roots = Roots(frozenset({(text, 0)}), none, none, (), {})
    found = Graph([piece], roots, {}, {(text, 0): (text, 20)})
    assert [before(found, text, at) for at in (4, 12, 20)] == [[0], [0], [0]]
