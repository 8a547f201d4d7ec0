"""Is data in code still aligned that vectors are read from?

The problem: `lvx` and its kin leave out the low four bits of an address (Power ISA 3.1, Book I,
6.7.2), so of a constant that moved by a word they read another one, and no relocation tells of it.
`lq` and `stq` trap (3.3.4), and a relocated `lxv` or `lxvp` can't be linked (binutils,
bfd/elf64-ppc.c, ppc64_elf_relocate_section: the low bits of a DQ-form's displacement).

The rule: where an object has such an instruction, beside the stack, what is addressed in code, lies
on a multiple of 16 and is no code lies on one in OUT. Addressed is what a relocation names, but of
a branch and of the kernel's own tables (`Names.addressed`), what a prefixed instruction reaches,
and what is reached from the program counter in a register (`distances`). It is code where a symbol
of a function, a branch or a table leads there, in a function that jumps by CTR, or where the words
in front go on to it.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from nopfix.verifier import distances, power
from nopfix.verifier.code import words_of
from nopfix.verifier.elf import FUNCTIONS, STT_OBJECT
from nopfix.verifier.extents import Extents
from nopfix.verifier.power import VECTOR
from nopfix.verifier.registers import goes_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nopfix.verifier.code import Code
    from nopfix.verifier.elf import Object, Symbol
    from nopfix.verifier.names import Names
    from nopfix.verifier.pairing import Pairing
    from nopfix.verifier.report import Findings

_STACK_POINTER = 1
_INDEXED = frozenset({7, 39, 71, 103, 359, 135, 167, 199, 231, 487})
"""Extended opcodes of 31: lvebx, lvehx, lvewx, lvx, lvxl, and their stores."""
_DISPLACED = {6: (15, (0, 1)), 56: (0, (0,)), 61: (3, (1,)), 62: (3, (2,))}
"""lxvp and stxvp, lq, lxv and stxv, stq: their last bits, of those that share an opcode."""
_OPCODES = frozenset({31, *_DISPLACED})


def needs_alignment(word: int) -> bool:
    """Whether an instruction reads something else from an address that isn't on a multiple of 16,
    or can't, and that address isn't the stack's.
    """
    opcode, base, index = word >> 26, word >> 16 & 31, word >> 11 & 31
    if opcode == 31 and word >> 1 & 0x3FF in _INDEXED:
        return _STACK_POINTER not in (base, index)
    mask, forms = _DISPLACED.get(opcode, (0, ()))
    return word & mask in forms and base != _STACK_POINTER


def are_read(old: Object) -> bool:
    """Whether some code of an object needs what it reads aligned to 16."""
    code = [section for section in old.sections if section.executable]
    if all(section.alignment < VECTOR for section in code):
        return False
    # Most words come again and again, and nine of ten have another opcode.
    every = (word for section in code for word in set(words_of(section.data)))
    return any(needs_alignment(word) for word in every if word >> 26 in _OPCODES)


def added(code: Code, symbols: list[Symbol], names: Names) -> Code:
    """The same code, with the multiples of 16 from which vectors may be read (`Code.vectors`).

    `symbols` are those of the section, `names` what is named there.
    """
    if code.section.alignment < VECTOR:
        return code
    data, found = _Data(code, symbols), {}
    for place in sorted({*names.addressed, *_reached(code)} - data.entries):
        if not place % VECTOR and data.may_be(place):
            start = data.beginning(place // 4)
            if start is not None:
                found[place] = 4 * start
    return code._replace(vectors=found)


def check(code: Code, pairing: Pairing, findings: Findings) -> None:
    """Report what is read as vectors, or may be, and is aligned to 16 in IN alone."""
    for place in code.vectors:
        there = pairing.start(place)
        if there is not None and there % VECTOR:
            text = f"a vector may be read from {place:#x}, a multiple of 16 that isn't one in OUT"
            findings.differ("alignment", code.section.name, place, there, text)


def _reached(code: Code) -> Iterator[int]:
    """What instructions address by a distance that the assembler resolved."""
    for index in code.distances:
        yield index * 4 + power.prefixed_displacement(*code.words[index : index + 2])
    for _, _, target in distances.reached(code):
        yield target


def _entries(code: Code, symbols: list[Symbol]) -> set[int]:
    """Where code is entered: by its symbols, branches and tables."""
    found = {4 * index + power.displacement(code.words[index]) for index in code.branches}
    for symbol in symbols:
        if symbol.type in FUNCTIONS or (symbol.info >> 4 and symbol.type != STT_OBJECT):
            found.update((symbol.value, symbol.value + symbol.local_entry))
    for table in code.regions.tables:
        found.update(table.targets)
        found.update(range(table.start, table.start + 4 * len(table.targets), 4))
    return found


class _Data:
    """What of a section may be data."""

    def __init__(self, code: Code, symbols: list[Symbol]) -> None:
        self.code = code
        self.objects = Extents(
            range(symbol.value, symbol.value + symbol.size)
            for symbol in symbols
            if symbol.type == STT_OBJECT
        )
        self.ends = sorted(code.functions.ends)
        self.entries = _entries(code, symbols)

    def may_be(self, place: int) -> bool:
        """Whether what lies at an offset may be data: not in a function that jumps by CTR."""
        code = self.code
        if not 0 <= place < code.section.size:
            return False
        start = code.functions.at(place)
        if start not in code.ways.jumping or place // 4 in code.regions.data_words:
            return True
        return bisect.bisect(self.ends, start) != bisect.bisect(self.ends, place)

    def beginning(self, index: int) -> int | None:
        """The first word in front of word `index`, or that, to which no other goes on.

        None where code is entered, or a branch or a prefixed instruction is in between: it is code.
        """
        while index and not self._is_apart(index):
            if 4 * index in self.entries or self._leads_on(index - 1):
                return None
            index -= 1
        return None if 4 * index in self.entries else index

    def _leads_on(self, index: int) -> bool:
        """Whether a word is a branch or a prefixed instruction, as far as can be seen."""
        if index in self.code.regions.data_words:
            return False
        is_branch = self.code.words[index] >> 26 in (power.I_FORM, power.B_FORM)
        return is_branch or self.code.is_prefixed(index - 1)

    def _is_apart(self, index: int) -> bool:
        """Whether the word in front of word `index` neither goes on to it nor is of one object."""
        code, data = self.code, self.code.regions.data_words
        if {index - 1, index} <= data:
            both = [self.objects.around(4 * at) for at in (index - 1, index)]
            return any(both) and not any(part in both[1] for part in both[0])
        before = code.words[index - 1]
        ends = 4 * index in code.functions.ends or power.is_padding(before) or not goes_on(before)
        return ends or index - 1 in data
