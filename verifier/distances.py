"""Distances that the assembler has put into instructions and data, where something tells of them.

A distance between two labels is a plain number once it is assembled. Where an insertion comes
between the two, the number is stale, and OUT can't be right unless it has another there; as words
and data are compared for equality, it hasn't. These kinds can be noticed:

- a displacement from a register that holds the program counter: after `bcl 20,31,$+4; mflr r` an
  instruction without a relocation, whose base is r, a copy of it, or a sum of it and a number
  (Power ISA 3.1, Book I, 2.4: LR is set to the address behind the bcl);
- a number beside the addresses of labels, in one object of data: what lies next to the address of
  one label and is the distance from there to another one that the object names; in what no
  compiler has signed (.comment), to where a function ends as well;
- a symbol of no section that is a function's length, or has its name and is the distance of
  something from there.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import power
from nopfix.verifier.elf import (
    RESERVED,
    SHF_ALLOC,
    SHN_ABS,
    STT_FILE,
    STT_FUNC,
    STT_OBJECT,
)
from nopfix.verifier.relocation_types import R_PPC64_ADDR64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nopfix.verifier.code import Code
    from nopfix.verifier.elf import Object, Section
    from nopfix.verifier.pairing import Pairing
    from nopfix.verifier.report import Findings

_ADDI, _ADDIS, _ADDIC, _OPCODE_31 = 14, 15, (12, 13), 31
_TARGET_IS_RT = frozenset({7, 8, 12, 13, 14, 15, *range(32, 36), *range(40, 44), 58})
"""Primary opcodes whose result is in the first register field: mulli to addis, the loads."""
_TARGET_IS_RA = frozenset({20, 21, 23, *range(24, 30), 30})
"""Those whose result is in the second one: rotates, logical operations with an immediate."""
_DISPLACEMENTS = {
    **dict.fromkeys((*_ADDIC, _ADDI, *range(32, 56)), 0xFFFF),  # D-form
    **dict.fromkeys((57, 58, 62), 0xFFFC),  # DS-form
    **dict.fromkeys((6, 56, 61), 0xFFF0),  # DQ-form; DS-form in part
}
"""Primary opcodes with a base register, and the bits of their displacement."""
_INDEXED_LOADS = frozenset({21, 23, 87, 279, 341, 343, 532, 535, 599, 790})
_INDEXED_STORES = frozenset({149, 151, 215, 407, 660, 662, 663, 727, 918})
_ADD, _SUBF, _OR = 266, 40, 444
_ONLY_RT = _INDEXED_LOADS | {_ADD, _SUBF}
"""Extended opcodes of 31 (Power ISA 3.1, Book I, appendix D) that leave the second field alone."""


def check_program_counter(code: Code, pairing: Pairing, findings: Findings) -> None:
    """Refuse displacements from a program counter in a register that an insertion changed."""
    for counter, place, target in reached(code):
        origin = pairing.ret(counter)
        if origin is None or not 0 <= target <= code.section.size:
            continue
        there = pairing.start(target)
        if there is None or there - origin != target - counter:
            findings.differ(
                "distance",
                code.section.name,
                place,
                pairing.word(place),
                f"reaches {target:#x} from the program counter, with insertions in between",
            )


def reached(code: Code) -> Iterator[tuple[int, int, int]]:
    """What code reaches from the program counter in a register.

    Gives the offset that the counter is, the instruction's, and that of what it reaches.
    """
    for index, word in enumerate(code.words):
        if word in (power.BCL_NEXT, power.BL_NEXT) and index not in code.regions.data_words:
            counter = index * 4 + 4
            for place, displacement in _uses(code, index + 1):
                yield counter, place, counter + displacement


def _uses(code: Code, behind: int) -> Iterator[tuple[int, int]]:
    """Where in code something is reached from the program counter, and how far from it.

    `behind` is the word behind the bcl. The register is followed straight on to the end of the
    function, with what is copied from it or made of it.
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
    known = _Known({words[start] >> 21 & 31: 0}, {})
    for index in range(start + 1, end):
        if index in code.regions.data_words:
            continue
        if index * 4 in code.regions.filled:
            known.forget(words[index])
            continue
        reached = known.reached(words[index])
        if reached is not None:
            yield index * 4, reached
        known.follow(words[index])
        if not known.counters:
            return


class _Known(NamedTuple):
    """What registers hold."""

    counters: dict[int, int]
    """The program counter and so many bytes."""
    numbers: dict[int, int]

    def reached(self, word: int) -> int | None:
        """How far from the program counter lies what an instruction addresses; None if nothing."""
        opcode, source, index = word >> 26, word >> 16 & 31, word >> 11 & 31
        counter = self.counters.get(source)
        if counter is not None and source and opcode in _DISPLACEMENTS:
            return counter + _signed(word & _DISPLACEMENTS[opcode])
        if opcode != _OPCODE_31 or word >> 1 & 0x3FF not in _ONLY_RT | _INDEXED_STORES:
            return None
        if counter is not None and index in self.numbers and word >> 1 & 0x3FF != _SUBF:
            return counter + self.numbers[index]
        if index in self.counters and source in self.numbers:
            sign = -1 if word >> 1 & 0x3FF == _SUBF else 1
            return self.counters[index] + sign * self.numbers[source]
        return None

    def follow(self, word: int) -> None:
        """Execute an instruction, as far as it matters."""
        opcode, target, source = word >> 26, word >> 21 & 31, word >> 16 & 31
        immediate = _signed(word & 0xFFFF) << 16 * (opcode == _ADDIS)
        added = opcode in (_ADDI, _ADDIS, *_ADDIC)
        literal = not source and opcode not in _ADDIC
        number = 0 if added and literal else self.numbers.get(source)
        counter = None if literal else self.counters.get(source)
        copied = opcode == _OPCODE_31 and word >> 1 & 0x3FF == _OR and target == word >> 11 & 31
        held = (self.counters.get(target), self.numbers.get(target)) if copied else (None, None)
        self.forget(word)
        if copied:
            (counter, number), target, immediate = held, source, 0
            self._set(target, counter, number)
        elif added:
            self._set(target, *(n if n is None else n + immediate for n in (counter, number)))

    def _set(self, register: int, counter: int | None, number: int | None) -> None:
        for values, value in ((self.counters, counter), (self.numbers, number)):
            if value is not None:
                values[register] = value

    def forget(self, word: int) -> None:
        """Forget the registers that an instruction may write."""
        opcode, target, source = word >> 26, word >> 21 & 31, word >> 16 & 31
        written = set()
        if opcode in _TARGET_IS_RT or opcode == _OPCODE_31:
            written.add(target)
        if opcode in _TARGET_IS_RA:
            written.add(source)
        if opcode == _OPCODE_31 and word >> 1 & 0x3FF not in _ONLY_RT:
            written.add(source)
        if opcode == _OPCODE_31 and word >> 1 & 0x3FF in _INDEXED_STORES:
            written.clear()
        for register in written:
            self.counters.pop(register, None)
            self.numbers.pop(register, None)


def _signed(field: int) -> int:
    return (field ^ 0x8000) - 0x8000


def check_numbers(old: Object, pairings: Mapping[int, Pairing], findings: Findings) -> None:
    """Refuse numbers in data that may be the distance of two labels that an insertion changed."""
    entries = {(s.section, s.value) for s in old.symbols if s.type == STT_FUNC}
    # A function's length beside its address: no compiler writes that, and compilers sign.
    by_hand = all(section.name != ".comment" for section in old.sections)
    ends = {(s.section, s.value + s.size) for s in old.symbols if s.type == STT_FUNC and s.size}
    objects: dict[int, list[range]] = {}
    for symbol in old.symbols:
        if symbol.type == STT_OBJECT:
            extent = range(symbol.value, symbol.value + symbol.size)
            objects.setdefault(symbol.section, []).append(extent)
    for number, relocations in old.relocations.items():
        section = old.sections[number]
        if section.executable or not section.flags & SHF_ALLOC:
            continue
        labels: dict[int, tuple[int, int]] = {}
        for relocation in relocations:
            target = old.target(relocation)
            if relocation.type == R_PPC64_ADDR64 and target[0] in pairings:
                labels[relocation.place] = target
        if not by_hand and not any(target not in entries for target in labels.values()):
            continue
        whole = [range(len(section.data))]
        places = sorted(labels)
        for extent in whole if by_hand else objects.get(number, ()):
            first, behind = (bisect.bisect_left(places, at) for at in (extent.start, extent.stop))
            named = {place: labels[place] for place in places[first:behind]}
            near = ends if by_hand else set()
            _check_object(section, extent, (named, near), pairings, findings)


def _check_object(
    section: Section,
    extent: range,
    known: tuple[dict[int, tuple[int, int]], set[tuple[int, int]]],
    pairings: Mapping[int, Pairing],
    findings: Findings,
) -> None:
    """Look beside the addresses of an object; `known`: what each address in it is, and which places
    besides a number may lead to.
    """
    named, ends = known
    targets = set(named.values())
    for place, (number, label) in named.items():
        for at, size in ((place - 8, 8), (place + 8, 8), (place - 4, 4), (place + 8, 4)):
            if at not in extent or at + size > extent.stop or at in named or at - 4 in named:
                continue
            distance = int.from_bytes(section.data[at : at + size], "little")
            there = (number, label + distance)
            is_end = there in ends
            if not distance or not (is_end or there in targets):
                continue
            if _changes(pairings[number], label, distance, is_end=is_end):
                findings.differ(
                    "distance",
                    section.name,
                    at,
                    at,
                    f"{distance:#x} may be the distance of the labels at {label:#x} and"
                    f" {label + distance:#x}, with insertions in between",
                )
                return


def _changes(pairing: Pairing, start: int, distance: int, *, is_end: bool) -> bool:
    """Whether the place at a distance from a label has another one in OUT."""
    here = pairing.start(start)
    there = (pairing.end if is_end else pairing.start)(start + distance)
    return here is None or there is None or there - here != distance


def check_absolute(old: Object, pairings: Mapping[int, Pairing], findings: Findings) -> None:
    """Refuse symbols that are numbers and may be a distance that an insertion changed.

    gas makes one of `.set f_size, .-f`. It may be a function's length, and where its name has that
    of a function in it, the distance of any place from there.
    """
    numbers = [s for s in old.symbols if s.section == RESERVED + SHN_ABS and s.type != STT_FILE]
    for function in old.symbols if numbers else ():
        pairing = pairings.get(function.section)
        if pairing is None or function.type != STT_FUNC:
            continue
        for symbol in numbers:
            length = symbol.value == function.size
            if not 0 < symbol.value <= pairing.size - function.value:
                continue
            if not length and not _is_about(symbol.name, function.name):
                continue
            if _changes(pairing, function.value, symbol.value, is_end=length):
                text = f"{symbol.name}: {symbol.value:#x} may be a distance from {function.name}"
                findings.differ("distance", ".symtab", None, None, text)


def _is_about(name: str, function: str) -> bool:
    """Whether a name is made of a function's and more: f_size, size.f."""
    before, found, behind = name.partition(function)
    return bool(found) and not (before[-1:] + behind[:1]).isalnum()
