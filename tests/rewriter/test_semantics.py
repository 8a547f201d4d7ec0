"""Which registers an instruction writes: never fewer than an independent disassembler says.

capstone decodes the operands; its PowerPC side doesn't say which of them are written, but the
assembler's convention does: the destination comes first, except in stores, compares, traps and
moves to other kinds of registers, and forms "with update" also write the base register.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nopfix.rewriter.object import elf
from nopfix.rewriter.power import semantics
from nopfix.rewriter.power.semantics import (
    CTR,
    LR,
    Comparison,
    Operation,
    Store,
    operation,
    store,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PER_OPCODE = 4
_MEMBERS = 500
"""How much of the C library is looked at; all of it takes ten times as long."""

_NO_DESTINATION = (
    ("st", "psts", "cmp", "tw", "td", "mt", "dcb", "icb", "tlb", "slb", "b", "copy", "paste")
    + ("nop", "sync", "lwsync", "ptesync", "eieio", "isync", "sc", "wait", "hash", "trap", "msg")
    + ("rf", "cr", "mcr", "tbegin", "tend", "tabort", "trecl", "trech", "tsr", "tcheck", "lmw")
)
_DESTINATION = frozenset(("cmpb", "bpermd", "brh", "brw", "brd"))


def members(archive: bytes) -> Iterator[bytes]:
    """The files in an ar archive."""
    at = 8
    while at < len(archive):
        size = int(archive[at + 48 : at + 58])
        yield archive[at + 60 : at + 60 + size]
        at += 60 + size + (size & 1)


@pytest.fixture(scope="module")
def words() -> list[int]:
    """A few different words of every opcode that the C library's code has."""
    gcc = shutil.which("powerpc64le-linux-gnu-gcc")
    if gcc is None:
        pytest.skip("needs powerpc64le-linux-gnu-gcc")
    name = subprocess.run(
        [gcc, "-print-file-name=libc.a"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if "/" not in name:
        pytest.skip("needs the static C library (libc6-dev-ppc64el-cross)")
    with open(name, "rb") as file:
        archive = file.read()
    found: dict[tuple[int, int], set[int]] = {}
    objects = [member for member in members(archive) if elf.is_elf(member)]
    for member in objects[:: max(1, len(objects) // _MEMBERS)]:
        obj = elf.read(member)
        for section in obj.sections:
            if section.flags & elf.SHF_EXECINSTR and section.size:
                collect(elf.column(obj.contents(section.number), "I"), found)
    return sorted(word for own in found.values() for word in own)


def collect(code: Any, found: dict[tuple[int, int], set[int]]) -> None:
    skip = False
    for word in code:
        if not skip:
            opcode = word >> 26
            extended = word >> 1 & 0x3FF if opcode in (4, 19, 31, 59, 60, 63) else word & 3
            own = found.setdefault((opcode, extended), set())
            if len(own) < _PER_OPCODE:
                own.add(word)
        skip = not skip and word >> 26 == 1


@pytest.fixture(scope="module")
def disassemble() -> Callable[[int], Any]:
    """A function that gives capstone's view of a word, None where it has none."""
    capstone = pytest.importorskip("capstone")
    machine = capstone.Cs(
        capstone.CS_ARCH_PPC, capstone.CS_MODE_64 | capstone.CS_MODE_LITTLE_ENDIAN
    )
    machine.detail = True
    return lambda word: next(machine.disasm(struct.pack("<I", word), 0x1000), None)


def registers(instruction: Any) -> set[int]:
    """The general registers, CTR and LR that the instruction writes by the convention above."""
    names = {instruction.reg_name(register) for register in instruction.regs_write}
    mnemonic = instruction.mnemonic.rstrip(".+-")
    operands = instruction.op_str.replace(",", " ").split()
    if operands and (mnemonic in _DESTINATION or not mnemonic.startswith(_NO_DESTINATION)):
        names.add(operands[0])
    if mnemonic in ("mtctr", "mtlr"):
        names = {mnemonic[2:]}
    found = {int(name[1:]) for name in names if name[:1] == "r" and name[1:].isdigit()}
    found |= {CTR} if "ctr" in names else set()
    return found | ({LR} if "lr" in names else set())


def as_set(mask: int) -> set[int]:
    return {register for register in range(34) if mask >> register & 1}


def test_no_write_to_a_register_is_missed(
    words: list[int], disassemble: Callable[[int], Any]
) -> None:
    missed = []
    compared = 0
    for word in words:
        instruction = disassemble(word)
        if instruction is None or word >> 26 in (16, 19):  # branches: the next test
            continue
        compared += 1
        rest = registers(instruction) - as_set(written(word))
        if rest:
            missed.append((hex(word), instruction.mnemonic, instruction.op_str, rest))
    assert compared > 500
    assert not missed


def test_what_the_table_writes_in_excess_is_known(
    words: list[int], disassemble: Callable[[int], Any]
) -> None:
    """Too much is sound but makes proofs fail: only update forms, calls and no-ops may differ."""
    known = ("bl", "sc", "scv", "nop", "msgsync", "lmw")
    excess = set()
    for word in words:
        instruction = disassemble(word)
        if instruction is None or word >> 26 in (16, 19):
            continue
        rest = as_set(written(word)) - registers(instruction)
        mnemonic = instruction.mnemonic.rstrip(".+-")
        if rest and mnemonic not in known and not mnemonic.endswith(("u", "ux")):
            excess.add((instruction.mnemonic, instruction.op_str))
    assert not excess


def test_every_store_is_known_as_one(words: list[int], disassemble: Callable[[int], Any]) -> None:
    stores, wrong = 0, []
    for word in words:
        instruction = disassemble(word)
        if instruction is not None:
            expected = instruction.mnemonic.startswith(("st", "dcbz"))
            stores += expected
            if expected != (store(word) is not None):
                wrong.append((hex(word), instruction.mnemonic, instruction.op_str))
    assert stores > 50
    assert not wrong


def fields(instruction: Any, word: int) -> set[int]:
    """The condition register fields that the instruction writes, by the assembler's convention."""
    names = {instruction.reg_name(register) for register in instruction.regs_write}
    mnemonic = instruction.mnemonic
    operands = instruction.op_str.replace(",", " ").split()
    if mnemonic.startswith(("cmp", "fcmp", "xscmp", "mcrf", "cr")) and mnemonic != "cmpb":
        names.add(operands[0] if operands[0].startswith("cr") else "cr0")
    if mnemonic.endswith("."):
        names.add({4: "cr6", 60: "cr6", 59: "cr1", 63: "cr1"}.get(word >> 26, "cr0"))
    return {int(name[2:]) for name in names if name[:2] == "cr" and name[2:].isdigit()}


def test_no_write_to_a_condition_field_is_missed(
    words: list[int], disassemble: Callable[[int], Any]
) -> None:
    compared, missed = 0, []
    for word in words:
        instruction = disassemble(word)
        for field in fields(instruction, word) if instruction is not None else ():
            compared += 1
            if not semantics.may_write_condition(word, field):
                missed.append((hex(word), instruction.mnemonic, instruction.op_str, field))
    assert compared > 20
    assert not missed


COMPARISONS = {
    "cmpwi 3,-8": Comparison(3, -8),
    "cmpdi 7,3,8": Comparison(3, 8),
    "cmplwi 5,4,0xfffe": Comparison(4, 0xFFFE),
    "cmpldi 4,8": Comparison(4, 8),
    "cmplw 3,4": None,
    "andi. 3,4,8": None,
    "addic. 3,4,8": None,
}


def test_comparisons_with_a_constant_are_what_the_assembler_encodes(
    assemble: Callable[..., bytes],
) -> None:
    obj = elf.read(assemble("\n".join(COMPARISONS) + "\n"))
    text = next(s.number for s in obj.sections if s.name == ".text")
    found = [semantics.comparison(word) for word in elf.column(obj.contents(text), "I")]
    assert dict(zip(COMPARISONS, found, strict=True)) == COMPARISONS


STORES = {
    "std 9,-16(1)": Store(1, -1, -16, 8, 9),
    "stdu 1,-112(1)": Store(1, -1, -112, 8, 1),
    "stw 9,6(31)": Store(31, -1, 6, 4, 9),
    "stfd 9,-8(1)": Store(1, -1, -8, 8, -1),
    "stxv 34,-32(1)": Store(1, -1, -32, 16, -1),
    "stxsd 2,-12(1)": Store(1, -1, -12, 8, -1),
    "stxvp 34,-32(1)": Store(1, -1, -32, 32, -1),
    "stdx 9,1,10": Store(1, 10, 0, 8, 9),
    "stxvd2x 34,0,9": Store(-1, 9, 0, 16, -1),
    "lxv 34,-32(1)": None,
    "ld 9,-16(1)": None,
}


def test_stores_are_what_the_assembler_encodes(assemble: Callable[..., bytes]) -> None:
    obj = elf.read(assemble("\n".join(STORES) + "\n", "-mpower10"))
    text = next(s.number for s in obj.sections if s.name == ".text")
    found = [store(word) for word in elf.column(obj.contents(text), "I")]
    assert dict(zip(STORES, found, strict=True)) == STORES


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0x42000008, {CTR}),  # bdnz
        (0x41820008, set()),  # beq
        (0x4E800020, set()),  # blr
        (0x4E800420, set()),  # bctr
        (0x4E800421, {3, 4, LR}),  # bctrl
        (0x48000101, {3, 4, LR}),  # bl
        (0x48000005, {LR}),  # bl .+4
        (0x429F0005, {LR}),  # bcl 20,31,.+4
        (0x7D2903A6, {CTR}),  # mtctr r9
        (0x7C0803A6, {LR}),  # mtlr r0
        (0x7D4903A6, {CTR}),  # mtctr r10
        (0xF821FFD1, {1}),  # stdu r1,-48(r1)
        (0xE9490008, {10}),  # ld r10,8(r9)
        (0xE9490009, {10, 9}),  # ldu r10,8(r9)
        (0xBBC1FFF0, {30, 31}),  # lmw r30,-16(r1)
    ],
)
def test_special_registers_and_several_destinations(word: int, expected: set[int]) -> None:
    assert as_set(written(word)) == expected


@pytest.mark.parametrize("word", [0, 0x00000044, 0x14000000, 0x58000000])
def test_a_word_that_is_no_instruction_may_write_everything(word: int) -> None:
    assert written(word) == semantics.EVERYTHING


def test_prefixed_instructions_write_what_their_suffix_names() -> None:
    assert semantics.written_by_prefixed(0x06100000, 0x39400018) == 1 << 10  # pla r10
    assert semantics.written_by_prefixed(0x04100000, 0xE5200000) == 1 << 9  # pld r9
    assert semantics.written_by_prefixed(0x04100000, 0xF5200000) == 0  # pstd r9
    assert semantics.written_by_prefixed(0x05000000, 0x80000000) == 0  # xxspltiw


OPERATIONS = {
    "mr 3,4": Operation("copy", 3, 4),
    "add 3,4,5": Operation("add", 3, 4, 5),
    "addi 3,4,-8": Operation("add", 3, 4, -1, -8),
    "li 3,7": Operation("add", 3, -1, -1, 7),
    "addis 3,4,2": Operation("add", 3, 4, -1, 0x20000),
    "lwax 9,10,3": Operation("load", 9, 10, 3, 0, 4, True),
    "lwz 9,8(10)": Operation("load", 9, 10, -1, 8, 4),
    "lwa 9,8(10)": Operation("load", 9, 10, -1, 8, 4, True),
    "ld 9,-8(10)": Operation("load", 9, 10, -1, -8, 8),
    "ldx 9,10,3": Operation("load", 9, 10, 3, 0, 8),
    "ldx 9,0,3": Operation("load", 9, 3, -1, 0, 8),
    "extsw 9,10": Operation("extend", 9, 10, size=32, signed=True),
    "clrldi 9,10,32": Operation("extend", 9, 10, size=32),
    "sldi 9,10,2": Operation("scale", 9, 10, -1, 2),
    "rldic 9,10,2,30": Operation("scale", 9, 10, -1, 2),
    "rldic 9,10,2,56": Operation("scale", 9, 10, -1, 2, limit=0xFC),
    "rldicl 9,10,0,58": Operation("scale", 9, 10, limit=63),
    "rlwinm 9,10,2,24,29": Operation("scale", 9, 10, -1, 2, limit=0xFC),
    "slwi 9,10,2": Operation("scale", 9, 10, -1, 2, limit=0xFFFFFFFC),
    "clrlwi 9,10,24": Operation("extend", 9, 10, size=8),
    "andi. 9,10,15": Operation("scale", 9, 10, limit=15),
    "extswsli 9,10,2": Operation("scale", 9, 10, -1, 2),
    "mtctr 9": Operation("copy", CTR, 9),
    "mflr 9": Operation("copy", 9, LR),
    "xor 9,10,11": Operation("opaque", -1),
    "ldu 9,8(10)": Operation("load", 9, 10, -1, 8, 8),
    "lwaux 9,10,3": Operation("load", 9, 10, 3, 0, 4, True),
    "subf 3,4,5": Operation("subtract", 3, 5, 4),
    "mulli 3,4,-12": Operation("multiply", 3, 4, -1, -12),
    "isel 3,4,5,2": Operation("select", 3, 4, 5),
    "isel 3,0,5,2": Operation("select", 3, -1, 5),
}


def test_operations_are_what_the_assembler_encodes(assemble: Callable[..., bytes]) -> None:
    obj = elf.read(assemble("\n".join(OPERATIONS) + "\n", "-mpower9"))
    text = next(s.number for s in obj.sections if s.name == ".text")
    found = [operation(word) for word in elf.column(obj.contents(text), "I")]
    assert dict(zip(OPERATIONS, found, strict=True)) == OPERATIONS
