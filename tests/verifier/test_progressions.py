"""What an index may be: held against the instructions, carried out with numbers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import elf
from nopfix.verifier.code import words_of
from nopfix.verifier.progressions import ANY, Progression, result

if TYPE_CHECKING:
    from collections.abc import Callable

_ALL = (1 << 64) - 1
STARTS = (ANY, Progression(0, 4), Progression(3, 6), Progression(1, 8), Progression(-5, 20))


def mask(begin: int, end: int) -> int:
    """MASK(begin, end) of the ISA, bit 0 the highest."""
    return sum(1 << 63 - bit for bit in range(begin, end + 1))


def rotated(value: int, shift: int) -> int:
    return (value << shift | value >> 64 - shift) & _ALL


def low_word_twice(value: int) -> int:
    return (value & 0xFFFFFFFF) << 32 | value & 0xFFFFFFFF


def extended(value: int, bits: int) -> int:
    low = value & (1 << bits) - 1
    return low - (1 << bits) if low >> bits - 1 else low


INSTRUCTIONS: dict[str, Callable[[int], int]] = {
    "sldi 3,4,2": lambda n: n << 2,
    "sldi 3,4,3": lambda n: n << 3,
    "srdi 3,4,1": lambda n: (n & _ALL) >> 1,
    "srdi 3,4,2": lambda n: (n & _ALL) >> 2,
    "clrldi 3,4,56": lambda n: n & 0xFF,
    "clrldi 3,4,32": lambda n: n & 0xFFFFFFFF,
    "rldic 3,4,2,30": lambda n: rotated(n & _ALL, 2) & mask(30, 61),
    "rldicr 3,4,2,59": lambda n: rotated(n & _ALL, 2) & mask(0, 59),
    "rldicl 3,4,62,61": lambda n: rotated(n & _ALL, 62) & 7,
    "rldicl 3,4,2,60": lambda n: rotated(n & _ALL, 2) & 15,
    "slwi 3,4,1": lambda n: (n << 1) & 0xFFFFFFFF,
    "srwi 3,4,1": lambda n: (n & 0xFFFFFFFF) >> 1,
    "rlwinm 3,4,0,29,30": lambda n: n & 6,
    "rlwinm 3,4,2,27,28": lambda n: (n << 2) & 0x18,
    "rlwinm 3,4,31,30,31": lambda n: n >> 1 & 3,
    "rlwinm 3,4,8,0,7": lambda n: rotated(low_word_twice(n), 8) & 0xFF000000,
    "andi. 3,4,6": lambda n: n & 6,
    "andi. 3,4,0xfff8": lambda n: n & 0xFFF8,
    "mulli 3,4,12": lambda n: n * 12,
    "mulli 3,4,-4": lambda n: n * -4,
    "addi 3,4,-3": lambda n: n - 3,
    "add 3,4,4": lambda n: n + n,
    "extsw 3,4": lambda n: extended(n, 32),
    "extsh 3,4": lambda n: extended(n, 16),
    "popcntd 3,4": lambda n: (n & _ALL).bit_count(),
    "neg 3,4": lambda n: -n,
}


@pytest.mark.parametrize("text", INSTRUCTIONS)
@pytest.mark.parametrize("start", STARTS)
def test_what_an_instruction_gives_is_in_the_progression(
    text: str, start: Progression, assemble: Callable[..., bytes]
) -> None:
    obj = elf.read(assemble(text))
    word = words_of(next(s.data for s in obj.sections if s.executable))[0]
    found = result(word, lambda register: start if register == 4 else ANY)
    numbers = [start.first + start.step * n for n in (*range(64), *sample(text))]
    given = {INSTRUCTIONS[text](number) for number in numbers if number >= 0}
    assert {(number - found.first) % found.step for number in given} == {0}


def sample(text: str) -> list[int]:
    return [random.Random(text).randrange(1 << 24) for _ in range(32)]


EXACT = {
    "sldi 3,4,2": (ANY, Progression(0, 4)),
    "rlwinm 3,4,0,29,30": (ANY, Progression(0, 2)),
    "rlwinm 3,4,2,27,28": (ANY, Progression(0, 8)),
    "srdi 3,4,1": (Progression(4, 6), Progression(2, 3)),
    "srwi 3,4,1": (Progression(1, 2), ANY),
    "add 3,4,4": (Progression(1, 4), Progression(2, 4)),
    "clrldi 3,4,32": (Progression(0, 12), Progression(0, 12)),
    "clrldi 3,4,56": (Progression(0, 12), Progression(0, 4)),
}


@pytest.mark.parametrize("text", EXACT)
def test_a_progression_leaves_out_what_cannot_be(text: str, assemble: Callable[..., bytes]) -> None:
    obj = elf.read(assemble(text))
    word = words_of(next(s.data for s in obj.sections if s.executable))[0]
    start, expected = EXACT[text]
    assert result(word, lambda _: start) == expected
