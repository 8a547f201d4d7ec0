"""What instructions compute, against the processor's emulator."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter.object import elf
from nopfix.rewriter.power import arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Assemble = Callable[..., bytes]

CC = "powerpc64le-linux-gnu-gcc"
QEMU = "qemu-ppc64le"

NUMBERS = (
    *(0, 1, 2, 3, 5, 7, 31, 32, 63, 64, 100, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF),
    *(0x7FFFFFFF, 0x80000000, 0xCCCCCCCD, 0xFFFFFFFF, 0x123456789ABCDEF0, 0x7FFFFFFFFFFFFFFF),
    *(-1, -2, -5, -0x80000000, -0x8000000000000000),
)
INSTRUCTIONS = (
    *(f"{name} 3,4,{n}" for name in ("addi", "addis", "addic", "addic.", "subfic", "mulli")
      for n in (-32768, -7, 0, 1, 3, 32767)),
    *(f"{name} 3,4,{n}" for name in ("ori", "oris", "xori", "xoris", "andi.", "andis.")
      for n in (0, 1, 5, 6, 0x8000, 0xFFFF)),
    *(f"{name} 3,4,5" for name in (
        *("add", "addc", "subf", "subfc", "mulld", "mullw", "mulhw", "mulhwu", "mulhd", "mulhdu"),
        *("divw", "divwu", "divd", "divdu", "modsw", "moduw", "modsd", "modud"),
        *("and", "andc", "or", "orc", "xor", "nor", "nand", "eqv"),
        *("slw", "sld", "srw", "srd", "sraw", "srad"))),
    *(f"{name} 3,4" for name in (
        *("neg", "extsb", "extsh", "extsw", "cntlzw", "cntlzd", "cnttzw", "cnttzd"),
        *("popcntw", "popcntd"))),
    *(f"{name} 3,4,{n}" for name in ("srawi", "sradi", "extswsli") for n in (0, 1, 5, 31)),
    *("sradi 3,4,47", "extswsli 3,4,40", "maddld 3,4,5,6", "li 3,-5", "lis 3,-13108"),
    *(f"{name} 3,4,{n},{m}" for name in ("rldicl", "rldicr", "rldic", "rldimi")
      for n, m in ((0, 32), (0, 48), (2, 30), (3, 61), (3, 60), (61, 3), (32, 0), (63, 63))),
    *(f"{name} 3,4,{n},{b},{e}" for name in ("rlwinm", "rlwimi")
      for n, b, e in ((0, 24, 31), (2, 0, 29), (2, 22, 29), (29, 3, 31), (31, 31, 31), (5, 5, 9))),
)  # fmt: skip
WORDS_ONLY = ("mulhw", "divw", "modsw", "moduw")
"""Of these the low word only is defined."""

PROGRAM = """
 .abiversion 2
 .machine power10
 .globl _start
_start:
 lis 30,in@highest
 ori 30,30,in@higher
 sldi 30,30,32
 oris 30,30,in@h
 ori 30,30,in@l
 lis 31,out@highest
 ori 31,31,out@higher
 sldi 31,31,32
 oris 31,31,out@h
 ori 31,31,out@l
 mr 29,31
 li 28,{count}
1: ld 4,0(30)
 ld 5,8(30)
 ld 3,16(30)
 mr 6,3
{code}
 addi 30,30,24
 addi 28,28,-1
 cmpdi 28,0
 bne 1b
 li 0,4
 li 3,1
 mr 4,29
 subf 5,29,31
 sc
 li 0,1
 li 3,0
 sc
 .data
 .balign 8
in: .quad {numbers}
 .bss
 .balign 8
out: .space {size}
"""


def test_what_is_computed_is_what_the_processor_computes(
    tmp_path: Path, assemble: Assemble
) -> None:
    for tool in (CC, QEMU):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    operands = [
        (a, b, NUMBERS[(7 * i + 3 * j) % len(NUMBERS)])
        for i, a in enumerate(NUMBERS)
        for j, b in enumerate(NUMBERS)
        if (i + j) % 3 == 0
    ]
    code = "".join(f" mr 3,6\n {one}\n std 3,0(31)\n addi 31,31,8\n" for one in INSTRUCTIONS)
    size = 8 * len(operands) * len(INSTRUCTIONS)
    numbers = ",".join(str(number) for row in operands for number in row)
    (tmp_path / "p.s").write_text(
        PROGRAM.format(code=code, count=len(operands), numbers=numbers, size=size)
    )
    program = str(tmp_path / "p")
    subprocess.run(
        [CC, "-nostdlib", "-static", "-no-pie", "-o", program, str(tmp_path / "p.s")], check=True
    )
    output = subprocess.run([QEMU, "-cpu", "power10", program], check=True, capture_output=True)
    results = iter(struct.unpack(f"<{size // 8}q", output.stdout))
    text = "\n".join((" .machine power10", *INSTRUCTIONS))
    words = struct.unpack(f"<{len(INSTRUCTIONS)}I", section_text(assemble(text)))
    wrong = []
    for row in operands:
        registers = {-1: 0, 3: row[2], 4: row[0], 5: row[1], 6: row[2]}
        for one, word in zip(INSTRUCTIONS, words, strict=True):
            computation = arithmetic.find(word)
            assert computation is not None, one
            own = next(results)
            try:
                held, _ = computation.function(*(registers[r] for r in computation.operands))
            except ZeroDivisionError:
                continue
            if one.startswith(WORDS_ONLY):
                held, own = held & 0xFFFFFFFF, own & 0xFFFFFFFF
            if held != own and not overflows(one, row):
                wrong.append((one, row, held, own))
    assert not wrong[:5]


LOST = {
    "what goes beyond a register": ("mulld 3,4,5", 1 << 40, 1 << 40),
    "a sum beyond a sign": ("add 3,4,5", (1 << 63) - 1, 1),
    "high bits": ("clrldi 3,4,48", 0x10000, 0),
    "high bits of a field": ("rlwinm 3,4,2,22,29", 0x100, 0),
    "what is shifted out of a word": ("slwi 3,4,1", 0x80000000, 0),
    "what is shifted out of a doubleword": ("sldi 3,4,1", 1 << 63, 0),
    "the upper word": ("srwi 3,4,1", 1 << 32, 0),
    "a sign": ("extsw 3,4", 0x80000000, 0),
    "a sign without which it is another number": ("clrldi 3,4,32", -1, 0),
    "what is shifted with a sign": ("extswsli 3,4,2", 0x80000000, 0),
    "what a mask has no bits for": ("andi. 3,4,7", 8, 0),
    "what another register has no bits for": ("and 3,4,5", 12, 6),
    "what is written over": ("rlwimi 5,4,2,28,29", 1, 4),
    "high bits of what is inserted": ("rlwimi 5,4,2,28,29", 4, 0),
    "all of a word that is shifted further": ("srw 3,4,5", 1, 64),
}  # fmt: skip
KEPT = {
    "a product": ("mulld 3,4,5", 1 << 30, 3, 3 << 30),
    "a division's rest": ("srwi 3,4,3", 0x87, 0, 0x10),
    "low bits": ("clrldi 3,4,48", 0xFFFF, 0, 0xFFFF),
    "a field": ("rlwinm 3,4,2,22,29", 0xFF, 0, 0x3FC),
    "a negative word": ("srawi 3,4,1", -6, 0, -3),
    "a sign": ("extsw 3,4", -5, 0, -5),
    "a mask's own bits": ("and 3,4,5", 4, 6, 4),
    "what is inserted": ("rlwimi 5,4,2,28,29", 3, 1, 13),
}


def outcome(data: bytes, first: int, second: int) -> tuple[int, bool]:
    (word,) = struct.unpack("<I", section_text(data))
    computation = arithmetic.find(word)
    assert computation is not None
    values = (arithmetic.low_bits(64, signed=True)(one)[0] for one in (first, second))
    registers = dict(zip((4, 5), values, strict=True))
    return computation.function(*(registers[one] for one in computation.operands))


@pytest.mark.parametrize(("code", "first", "second"), LOST.values(), ids=LOST.keys())
def test_is_lost(assemble: Assemble, code: str, first: int, second: int) -> None:
    assert outcome(assemble(f"{code}\n", "-mpower10"), first, second)[1]


@pytest.mark.parametrize(("code", "first", "second", "result"), KEPT.values(), ids=KEPT.keys())
def test_is_kept(assemble: Assemble, code: str, first: int, second: int, result: int) -> None:
    assert outcome(assemble(f"{code}\n", "-mpower10"), first, second) == (result, False)


@pytest.mark.parametrize("code", ["rlwinm 3,4,0,24,7", "addze 3,4", "lwz 3,0(4)", "isel 3,4,5,2"])
def test_nothing_is_said_of(assemble: Assemble, code: str) -> None:
    """Words of which both halves of the register get a part, carries, memory, conditions."""
    (word,) = struct.unpack("<I", section_text(assemble(f"{code}\n", "-mpower10")))
    assert arithmetic.find(word) is None


def overflows(one: str, row: tuple[int, int, int]) -> bool:
    """Whether ``one`` divides the most negative number by -1, which gives anything."""
    bits = 32 if one[3:5] in ("w ", "sw") else 64
    low = [number & (1 << bits) - 1 for number in row[:2]]
    return one[:3] in ("div", "mod") and low == [1 << bits - 1, (1 << bits) - 1]


def section_text(data: bytes) -> bytes:
    obj = elf.read(data)
    number = next(i for i, one in enumerate(obj.sections) if one.name == ".text")
    return bytes(obj.contents(number))
