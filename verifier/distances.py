"""Distances that the assembler has put into instructions and data, where something tells of them.

A distance between two labels is a plain number once it is assembled. Where an insertion comes
between the two, the number is stale, and OUT can't be right unless it has another there; as words
and data are compared for equality, it hasn't. Two kinds can be noticed:

- a displacement from a register that holds the program counter: after `bcl 20,31,$+4; mflr r` a
  D-form instruction without a relocation, whose base is r (Power ISA 3.1, Book I, 2.4: LR is set to
  the address behind the bcl);
- a number beside the addresses of labels, in one object of data: what lies next to the address of
  one label and is the distance from there to another one that the object names.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from nopfix.verifier import power
from nopfix.verifier.elf import STT_FUNC, STT_OBJECT
from nopfix.verifier.relocation_types import R_PPC64_ADDR64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nopfix.verifier.code import Code
    from nopfix.verifier.elf import Object, Section, Symbol
    from nopfix.verifier.pairing import Pairing
    from nopfix.verifier.report import Findings

_TARGET_IS_RT = frozenset({7, 8, 12, 13, 14, 15, *range(32, 36), *range(40, 44), 58})
"""Primary opcodes whose result is in the first register field: mulli to addis, the loads."""
_TARGET_IS_RA = frozenset({20, 21, 23, *range(24, 30), 30})
"""Those whose result is in the second one: rotates, logical operations with an immediate."""
_D_FORM = frozenset({14, *range(32, 56)})
_DS_FORM = frozenset({58, 62})


def check_program_counter(code: Code, pairing: Pairing, findings: Findings) -> None:
    """Refuse displacements from a program counter in a register that an insertion changed."""
    for index, word in enumerate(code.words):
        if word != power.BCL_NEXT or index in code.regions.data_words:
            continue
        counter = index * 4 + 4
        origin = pairing.ret(counter)
        for place, displacement in _uses(code, index + 1):
            target = counter + displacement
            if origin is None or not 0 <= target <= code.section.size:
                continue
            there = pairing.start(target)
            if there is None or there - origin != displacement:
                findings.differ(
                    "distance",
                    code.section.name,
                    place,
                    pairing.word(place),
                    f"reaches {target:#x} from the program counter, with insertions in between",
                )


def _uses(code: Code, behind: int) -> Iterator[tuple[int, int]]:
    """Offset and displacement of the D-form instructions whose base is the program counter.

    `behind` is the word behind the bcl. The register is followed straight on to the end of the
    function, or to where something else is put into it.
    """
    words = code.words
    later = bisect.bisect_right(code.functions.starts, behind * 4)
    end = [*code.functions.starts[later : later + 1], code.section.size][0] // 4
    start = behind
    while start < end and words[start] & power.MFLR_MASK != power.MFLR:
        if words[start] >> 26 in (power.I_FORM, power.B_FORM, 19):
            return
        start += 1
    if start >= end:
        return
    register = words[start] >> 21 & 31
    for index in range(start + 1, end):
        word = words[index]
        opcode, target, source = word >> 26, word >> 21 & 31, word >> 16 & 31
        if index in code.regions.data_words:
            continue
        if source == register and register and index * 4 not in code.regions.filled:
            if opcode in _D_FORM:
                yield index * 4, (word & 0xFFFF ^ 0x8000) - 0x8000
            elif opcode in _DS_FORM:
                yield index * 4, (word & 0xFFFC ^ 0x8000) - 0x8000
        if (
            (opcode in _TARGET_IS_RT and target == register)
            or (opcode in _TARGET_IS_RA and source == register)
            or (opcode == 31 and register in (target, source))
        ):
            return


def check_numbers(old: Object, pairings: Mapping[int, Pairing], findings: Findings) -> None:
    """Refuse numbers in data that may be the distance of two labels that an insertion changed."""
    entries = {(s.section, s.value) for s in old.symbols if s.type == STT_FUNC}
    for number, relocations in old.relocations.items():
        section = old.sections[number]
        if section.executable or not section.flags & 2:
            continue
        labels: dict[int, tuple[int, int]] = {}
        for relocation in relocations:
            target = old.target(relocation)
            if relocation.type == R_PPC64_ADDR64 and target[0] in pairings:
                labels[relocation.place] = target
        if not any(target not in entries for target in labels.values()):
            continue
        for symbol in old.symbols:
            if symbol.section == number and symbol.type == STT_OBJECT:
                _check_object(section, symbol, labels, pairings, findings)


def _check_object(
    section: Section,
    symbol: Symbol,
    labels: dict[int, tuple[int, int]],
    pairings: Mapping[int, Pairing],
    findings: Findings,
) -> None:
    extent = range(symbol.value, symbol.value + symbol.size)
    named = {place: target for place, target in labels.items() if place in extent}
    targets = set(named.values())
    for place, (number, label) in named.items():
        pairing = pairings[number]
        here = pairing.start(label)
        for at, size in ((place - 8, 8), (place + 8, 8), (place - 4, 4), (place + 8, 4)):
            if at not in extent or at + size > extent.stop or at in named or at - 4 in named:
                continue
            distance = int.from_bytes(section.data[at : at + size], "little")
            there = pairing.start(label + distance)
            if not distance or (number, label + distance) not in targets:
                continue
            if here is None or there is None or there - here != distance:
                findings.differ(
                    "distance",
                    section.name,
                    at,
                    at,
                    f"{distance:#x} may be the distance of the labels at {label:#x} and"
                    f" {label + distance:#x}, with insertions in between",
                )
                return
