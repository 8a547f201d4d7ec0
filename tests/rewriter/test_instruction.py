from __future__ import annotations

from typing import TYPE_CHECKING

import capstone
import pytest

from nopfix.rewriter.power import instruction, opcodes

if TYPE_CHECKING:
    from collections.abc import Collection

DISASSEMBLER = capstone.Cs(
    capstone.CS_ARCH_PPC, capstone.CS_MODE_64 | capstone.CS_MODE_LITTLE_ENDIAN
)


def mnemonic(word: int, place: int = 0) -> str:
    found = next(DISASSEMBLER.disasm(word.to_bytes(4, "little"), place))
    return f"{found.mnemonic} {found.op_str}".strip()


@pytest.mark.parametrize("displacement", [4, -4, 0x7FFC, -0x8000])
@pytest.mark.parametrize("word", [0x48000001, 0x48000000, 0x41820000, 0x4240FFF1, 0x41A20001])
def test_a_displacement_put_into_a_branch_is_read_back(word: int, displacement: int) -> None:
    moved = instruction.with_displacement(word, displacement)
    assert instruction.branch_displacement(moved) == displacement


def test_only_the_displacement_of_a_branch_changes() -> None:
    word = 0x41A2FFF1  # beql+ with hint
    moved = instruction.with_displacement(word, 0x40)
    assert moved ^ word == (0xFFF0 ^ 0x40)


@pytest.mark.parametrize("word", [0x48000102, 0x48000103, 0x41820012, 0x4E800020, 0x38600000])
def test_absolute_branches_and_other_instructions_have_no_displacement(word: int) -> None:
    assert instruction.branch_displacement(word) is None


@pytest.mark.parametrize(
    ("word", "inverse"),
    [
        (0x41820008, 0x40820008),  # beq / bne
        (0x40820008, 0x41820008),
        (0x41810008, 0x40810008),  # bgt / ble
        (0x42000008, 0x42400008),  # bdnz / bdz
        (0x42400008, 0x42000008),
        (0x41E20008, 0x40C20008),  # beq+ / bne-: the same path stays predicted
        (0x41C20008, 0x40E20008),  # beq- / bne+
    ],
)
def test_inverting_turns_condition_and_prediction_round(word: int, inverse: int) -> None:
    assert instruction.inverted(word) == inverse


@pytest.mark.parametrize("word", [0x41000008, 0x40000008, 0x41400008, 0x42800008])
def test_branches_on_counter_and_condition_together_are_not_inverted(word: int) -> None:
    assert instruction.inverted(word) is None


@pytest.mark.parametrize("options", range(32))
def test_the_inverse_of_the_inverse_is_the_branch(options: int) -> None:
    word = 16 << 26 | options << 21 | 2 << 16 | 8
    inverse = instruction.inverted(word)
    if inverse is not None:
        assert instruction.inverted(inverse) == word


def test_capstone_reads_our_inversions_as_the_opposite_condition() -> None:
    pairs = {"beq": "bne", "bne": "beq", "bgt": "ble", "ble": "bgt", "blt": "bge", "bge": "blt"}
    for options in (12, 4):
        for bit in range(3):
            word = 16 << 26 | options << 21 | bit << 16 | 8
            inverse = instruction.inverted(word)
            assert inverse is not None
            assert mnemonic(inverse).split()[0] == pairs[mnemonic(word).split()[0]]


@pytest.mark.parametrize("displacement", [0, 8, -8, 0x1FFFFFFFF, -0x200000000])
def test_a_prefixed_displacement_is_read_back(displacement: int) -> None:
    prefix, suffix = 0x06100000, 0x38600000  # pla r3
    words = instruction.with_prefixed_displacement(prefix, suffix, displacement)
    assert instruction.prefixed_displacement(*words) == displacement


def test_a_prefixed_instruction_without_r_bit_is_not_relative() -> None:
    assert instruction.prefixed_displacement(0x06000000, 0x38600010) is None


def test_the_second_word_of_a_prefixed_instruction_is_not_a_branch() -> None:
    words = [0x04000000, 0x48000009, 0x48000005]
    found = instruction.sweep(words, [], frozenset())
    assert found.prefixed == [0]
    assert found.calls == [8]
    assert found.branches == [instruction.Branch(8, 12)]


def test_data_is_not_swept() -> None:
    words = [0x48000008, 0x48000001, 0x48000001]
    found = instruction.sweep(words, [(4, 12)], frozenset())
    assert found.calls == []
    assert found.branches == [instruction.Branch(0, 8)]


def test_relocated_branches_keep_their_displacement_to_the_relocation() -> None:
    found = instruction.sweep([0x48000001], [], frozenset((0,)))
    assert found.calls == [0]
    assert found.branches == []


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (instruction.NOP, "nop"),
        (instruction.LOAD_TOC, "ld 2, 24(1)"),
        (instruction.GROUP_NOPS["power6"], "ori 1, 1, 0"),
        (instruction.GROUP_NOPS["power7"], "ori 2, 2, 0"),
        (instruction.branch(0x20), "b 0x20"),
        (instruction.with_displacement(0x40820000, 0x10), "bne 0, 0x10"),
        (instruction.with_displacement(0x42000000, 0x10), "bdnz 0x10"),
        (instruction.with_displacement(0x41E20000, 0x10), "beq+ 0, 0x10"),
    ],
)
def test_the_words_that_are_inserted_are_what_an_assembler_makes(word: int, text: str) -> None:
    keystone = pytest.importorskip("keystone")  # no wheel for ppc64le hosts
    mode = keystone.KS_MODE_PPC64 | keystone.KS_MODE_LITTLE_ENDIAN
    encoded, _ = keystone.Ks(keystone.KS_ARCH_PPC, mode).asm(text, 0)
    assert bytes(encoded) == word.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("primary", "name"),
    [
        (instruction.BRANCH, "b"),
        (instruction.BRANCH_CONDITIONAL, "bc"),
        (instruction.SYSTEM_CALL, "sc"),
        (instruction.ADDI, "addi"),
        (instruction.ADDIS, "addis"),
        (instruction.LD, "ld"),
    ],
)
def test_a_primary_opcode_goes_by_the_name_that_the_table_has_for_it(
    primary: int, name: str
) -> None:
    row = opcodes.find(primary << 26 | (2 if name == "sc" else 0))
    assert row is not None
    assert row.mnemonic == name


def test_extended_opcodes_go_by_the_names_that_the_table_has_for_them() -> None:
    def names(extended: Collection[int]) -> set[str]:
        words = [instruction.BRANCH_REGISTER << 26 | number << 1 for number in extended]
        return {row.mnemonic for row in map(opcodes.find, words) if row is not None}

    assert names([instruction.BCLR]) == {"bclr"}
    assert names([instruction.BCCTR]) == {"bcctr"}
    assert names([instruction.BCTAR]) == {"bctar"}
    assert names(instruction.RETURNS) == {"rfid", "rfscv", "hrfid", "urfid"}


def test_the_second_words_of_prefixed_instructions_go_by_the_table_s_names() -> None:
    prefixes = {"paddi": 0x06000000, "pld": 0x04000000, "plwa": 0x04000000}
    numbers = (instruction.PADDI, instruction.PLD, instruction.PLWA)
    for (name, prefix), primary in zip(prefixes.items(), numbers, strict=True):
        row = opcodes.find_prefixed(prefix, primary << 26)
        assert row is not None
        assert row.mnemonic == name


def test_branches_that_ignore_condition_and_ctr_always_branch() -> None:
    assert all(map(instruction.always_branches, [0x4E800020, 0x4E800420, 0x429F0005]))  # blr, bctr
    assert not any(map(instruction.always_branches, [0x41820008, 0x4D820020, 0x4200FFF0]))  # beq


def test_additions_and_moves_to_lr_are_told_from_others_in_all_their_forms() -> None:
    sums = [0x7C640214, 0x7C640215, 0x7C640614, 0x7C640050, 0x7C640450]  # add, add., addo, subf
    assert all(map(instruction.adds_or_subtracts, sums))
    assert not any(map(instruction.adds_or_subtracts, [0x7C6421D6, 0x7C640014, 0x38630001]))
    assert [instruction.subtracts(word) for word in sums] == [False, False, False, True, True]
    assert instruction.is_mtlr(0x7D8803A6)  # mtlr r12
    assert not instruction.is_mtlr(0x7D8903A6)  # mtctr r12
