"""Branch words: the fields are what a disassembler says, and inverses are inverses."""

from __future__ import annotations

import random

import pytest

from nopfix.verifier import power


def disassembled(word: int) -> int | None:
    """The displacement of a branch, as capstone has it; it gives no target for reserved BO."""
    capstone = pytest.importorskip("capstone")
    engine = capstone.Cs(capstone.CS_ARCH_PPC, capstone.CS_MODE_64 + capstone.CS_MODE_LITTLE_ENDIAN)
    base = 1 << 40
    for _, _, _, operands in engine.disasm_lite(word.to_bytes(4, "little"), base):
        target = operands.rsplit(" ", 1)[-1]
        return int(target, 16) - base if target.startswith("0x") else None
    return None


@pytest.mark.parametrize("opcode", [power.I_FORM, power.B_FORM])
def test_displacement_is_what_a_disassembler_says(opcode: int) -> None:
    numbers = random.Random(opcode)
    words = [opcode << 26 | numbers.randrange(1 << 26) & ~2 for _ in range(500)]
    known = [(word, found) for word in words if (found := disassembled(word)) is not None]
    assert len(known) > 250
    assert [(word, power.displacement(word)) for word, _ in known] == known


def test_shapes_are_the_words_without_the_displacements_of_relative_branches() -> None:
    words = (0x48000005, 0x4BFFFFFD, 0x4800000A, 0x41820008, 0x4182FFF9, 0x60000000)
    assert power.shapes(words) == [
        *(0x48000001, 0x48000001, 0x4800000A, 0x41820000, 0x41820001, 0x60000000)
    ]
    assert power.branches(words) == [0, 1, 3, 4]


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
