"""Branch words: what capstone decodes is what the fields say, and inverses are inverses."""

from __future__ import annotations

import random

import pytest

from verifier import power


def field(word: int) -> int:
    """Power ISA 3.1, I-form LI and B-form BD."""
    if word >> 26 == power.I_FORM:
        return ((word & 0x03FFFFFC) ^ 0x02000000) - 0x02000000
    return ((word & 0xFFFC) ^ 0x8000) - 0x8000


@pytest.mark.parametrize("opcode", [power.I_FORM, power.B_FORM])
def test_displacement_is_the_field_for_any_branch(opcode: int) -> None:
    numbers = random.Random(opcode)
    for _ in range(500):
        word = opcode << 26 | numbers.randrange(1 << 26) & ~2
        assert power.displacement(word) == field(word)


@pytest.mark.parametrize(
    ("word", "inverse"),
    [
        (0x41820008, 0x40820008),  # beq, bne
        (0x41E20008, 0x40C20008),  # beq+, bne-
        (0x42000008, 0x42400008),  # bdnz, bdz
        (0x43200008, 0x43400008),  # bdnz+, bdz-
        (0x41020008, None),  # bdnzt: tests both
        (0x42800008, None),  # always
    ],
)
def test_the_inverse_of_a_conditional_branch(word: int, inverse: int | None) -> None:
    assert power.inverted(word) == inverse


def test_register_savers_and_mcount_take_no_slot() -> None:
    assert all(map(power.is_exempt, ("_mcount", "_savegpr0_29", "_restfpr_14", "_savevr_20")))
    assert not power.is_exempt("savegpr")
