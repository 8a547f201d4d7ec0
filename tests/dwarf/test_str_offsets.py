"""Offsets of strings: nothing in them may move."""

from __future__ import annotations

import pytest

from nopfix.dwarf import str_offsets
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import OffsetMap, slot
from nopfix.dwarf.section import Relocations, Section


def section(target: int) -> Section:
    relocations = Relocations([8, 12], [0, 1], [0, 4], [4, target], [0, 0])
    return Section(9, ".debug_str_offsets", bytes(16), relocations)


def test_offsets_of_strings_stay() -> None:
    assert str_offsets.rewrite(section(4), {1: OffsetMap([slot(8)])}) is None


def test_an_offset_into_a_section_that_moves_is_refused_with_its_place() -> None:
    with pytest.raises(Unsupported, match="isn't strings") as caught:
        str_offsets.rewrite(section(1), {1: OffsetMap([slot(8)])})
    assert caught.value.offset == 12


def test_a_section_that_has_a_map_but_does_not_move_is_no_harm() -> None:
    assert str_offsets.rewrite(section(1), {1: OffsetMap()}) is None
