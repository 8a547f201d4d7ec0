"""Address ranges follow the code, against the assembler."""

from __future__ import annotations

import pytest
from assembled import needs_assembler, pair
from entries import COMPILE_UNIT, Entry, Unit, check_all, units
from growing import CODE, LOW, grown, types

from nopfix.dwarf import aranges
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import OffsetMap, slot
from nopfix.dwarf.section import Relocations, Section


def ranges(number: int, offset: str) -> str:
    return f"""
    .4byte 2f-1f
    1: .2byte 2
    {offset} U{number}
    .byte 8, 0
    .p2align 4
    .8byte S0, E12-S0, 0, 0
    2:
    """


@needs_assembler
def test_the_lengths_of_every_set_follow_the_code() -> None:
    written = [
        Unit(Entry(COMPILE_UNIT, (LOW,), (*grown(), *types(0)))),
        Unit(Entry(COMPILE_UNIT, (LOW,), (*types(1), *grown()))),
    ]
    text = units(*written) + '.section .debug_aranges,"",@progbits\n'
    text += ranges(1, ".4byte") + ranges(0, ".4byte")
    assert ".debug_aranges" in check_all(pair({".text": CODE}, text))


def one(address: int, length: int, *places: int) -> Section:
    """A set with one range and the tuple of zeros behind it."""
    header = bytes.fromhex("2c000000 0200 00000000 08 00 00000000")
    data = header + b"".join(n.to_bytes(8, "little") for n in (address, length, 0, 0))
    count = len(places)
    relocations = Relocations(places, [0] * count, [0] * count, [1], [0x40])
    return Section(5, ".debug_aranges", data, relocations)


def test_a_length_is_that_of_the_code_with_the_slots_in_it() -> None:
    new = aranges.rewrite(one(0, 0x20, 16), {1: OffsetMap([slot(0x48), slot(0x60)])})
    assert new is not None
    assert int.from_bytes(new.data[24:32], "little") == 0x28
    assert not new.map


def test_a_range_without_relocation_is_refused() -> None:
    with pytest.raises(Unsupported, match="without relocation") as caught:
        aranges.rewrite(one(0x40, 0x20), {1: OffsetMap([slot(0x48)])})
    assert caught.value.offset == 16


def test_ranges_of_code_that_stays_are_no_change() -> None:
    assert aranges.rewrite(one(0, 0x20, 16), {2: OffsetMap([slot(0x48)])}) is None
