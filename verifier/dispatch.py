"""Which table of distances does a branch by CTR read?

The problem: a distance between two labels is a plain number once it is assembled, so a table of
such that nobody moved looks like any data. What tells is who reads it. Compilers dispatch in one
way: load an entry of a table, add the address that entries count from, jump there:

    lwax 9,29,9      # 29: where the table begins; 9: the index, scaled
    add 9,30,9       # 30: what its entries count from
    mtctr 9
    bctr

(GCC, gcc/config/rs6000/rs6000.md, "tablejump"; LLVM, llvm/lib/CodeGen/SelectionDAG/
LegalizeDAG.cpp, BR_JT, with PPCTargetLowering::getPICJumpTableRelocBase; programs themselves, see
GCC's manual, "Labels as Values".)

The rule: a value is followed from the branch back along one way that leads to it, the words in
front of it; behind a branch that doesn't go on, or a label that a call stands in front of, it is
followed to the only instruction of the function that writes its register, restores before a return
aside. A register holds a known place by a relocation that names the place: in the instruction
(@toc@l, @pcrel), or in the word of the TOC or of the GOT that it loads (ELFv2 ABI, 3.5.3 and
3.6.3); by a displacement from its own place (Power ISA 3.1, Book I, 1.6.3: R is 1); or because it
was read from LR behind a `bcl 20,31,$+4`. Where any of this isn't so, there is no answer.
"""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import power
from nopfix.verifier.pairing import RET, START
from nopfix.verifier.progressions import ANY, Progression, result
from nopfix.verifier.registers import NONVOLATILE, goes_on, is_call, written
from nopfix.verifier.relocation_types import R_PPC64_ADDR64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nopfix.verifier.code import Code
    from nopfix.verifier.names import Reference

_TOC16, _TOC16_LO, _TOC16_DS, _TOC16_LO_DS = 47, 48, 63, 64
_GOT16_DS, _GOT16_LO_DS, _PCREL34, _GOT_PCREL34 = 58, 59, 132, 133
_ADDRESSES = {
    14: {_TOC16, _TOC16_LO, _PCREL34},
    57: {_GOT_PCREL34},
    58: {_GOT16_DS, _GOT16_LO_DS},
}
"""Primary opcode: relocations with which the result is the address that is named."""
_CONTENTS = {57: {_PCREL34}, 58: {_TOC16_DS, _TOC16_LO_DS}}
"""Those with which it is what lies there."""
_ADDI, _ADDIS, _LD, _STD = 14, 15, 58, 62
_LD_FORM, _LWA_FORM = 0, 2
_ADD, _OR = 266, 444
_MTCTR, _MTCTR_MASK = 0x7C0903A6, 0xFC1FFFFF
_MTLR, _MTLR_MASK = 0x7C0803A6, 0xFC1FFFFF
_EXTENSIONS = {954: 1, 922: 2, 986: 4}
"""extsb, extsh, extsw: the bytes that they extend."""
_INDEXED = {
    87: (1, False),  # lbzx
    279: (2, False),  # lhzx
    343: (2, True),  # lhax
    23: (4, False),  # lwzx
    341: (4, True),  # lwax
    21: (8, True),  # ldx
}
_DISPLACED = {34: (1, False), 40: (2, False), 42: (2, True), 32: (4, False)}
"""lbz, lhz, lha, lwz; `ld` and `lwa` share an opcode. Bytes, and whether the sign is kept."""
_FRAME = (1, 11, 12, 31)
"""Registers that may hold the address of a frame, or of where it was."""
_DEPTH = 12
"""Steps that a value is followed."""
_SUMS = 6
"""Steps that an index is followed, which may be made of two at each."""


class Place(NamedTuple):
    """An address in the object."""

    section: int
    offset: int
    side: str = START
    """RET where it is the program counter that an instruction reads."""


class Read(NamedTuple):
    """A number that is read from a table."""

    table: Place
    size: int
    signed: bool
    step: int
    """Bytes from an entry to the next."""


class Load(NamedTuple):
    """What a load reads."""

    size: int
    signed: bool
    displacement: int | None
    """None where an index is in a register."""


class Dispatch(NamedTuple):
    """A jump to `base` plus a number of a table."""

    branch: int
    """Offset of the bctr."""
    base: Place
    read: Read


def dispatches(
    code: Code, references: Callable[[], Mapping[tuple[int, int], Reference]]
) -> Iterator[tuple[range, Dispatch]]:
    """The function, as a range of offsets, and what is known of each of its branches by CTR.

    `references` gives the relocations that lead into the object, by section and place.
    """
    every = [i for i, word in enumerate(code.words) if word & power.BCCTR_MASK == power.BCCTR]
    stops = [*code.functions.starts, 4 * len(code.words)]
    for start, jumps in itertools.groupby(every, lambda index: code.functions.at(4 * index)):
        if start is None or start % 4:
            continue
        end = min(stops[bisect.bisect_right(code.functions.starts, start)], 4 * len(code.words))
        flow = _Flow(code, range(start // 4, end // 4), references())
        for jump in jumps:
            found = flow.dispatch(jump)
            if found:
                yield range(start, end), found


class _Flow:
    """The words of one function, and what their registers hold."""

    def __init__(
        self, code: Code, extent: range, references: Mapping[tuple[int, int], Reference]
    ) -> None:
        """`extent`: the indices of the function's words."""
        self.code = code
        self.words = code.words
        self.extent = extent
        self.references = references
        self._writers: dict[int, list[int]] | None = None
        self._spills: dict[int, list[int]] | None = None

    def dispatch(self, branch: int) -> Dispatch | None:
        """What is known of the bctr at word `branch`."""
        at = branch - 1
        while at in self.extent and self.words[at] & _MTCTR_MASK != _MTCTR:
            if not self._falls_through(at) or is_call(self.words[at]):
                return None
            at -= 1
        if at not in self.extent:
            return None
        made = self._made(self.words[at] >> 21 & 31, at)
        stores = () if made is None else self._stores(made)
        ways = [self._made(self.words[store] >> 21 & 31, store) for store in stores]
        found = {self._sum(way) for way in (ways or [made])}
        both = found.pop() if len(found) == 1 else None
        return both and Dispatch(4 * branch, *both)

    def _sum(self, at: int | None) -> tuple[Place, Read] | None:
        """The base and the table of a jump, of the word that adds them up."""
        if at is None or not self._adds(at):
            return None
        first, second = _sources(self.words[at])
        for base, number in ((first, second), (second, first)):
            read = self._read(number, at)
            place = self._place(base, at) if read else None
            if place and read:
                return place, read
        return None

    # What registers hold

    def _place(self, register: int, before: int) -> Place | None:
        """The address that a register holds in front of word `before`."""
        more = 0
        for _ in range(_DEPTH):
            at = self._made(register, before)
            if at is None:
                return None
            word, found = self.words[at], None
            if self._is_suffix(at) or at * 4 in self.code.regions.filled:
                found = self._named(at)
            elif word & power.MFLR_MASK == power.MFLR:
                found = self._counter(at)
            elif word >> 26 == _ADDI and word >> 16 & 31:
                more += _signed(word & 0xFFFF)
                register, before = word >> 16 & 31, at
                continue
            return found and found._replace(offset=found.offset + more)
        return None

    def _read(self, register: int, before: int) -> Read | None:
        """The number of a table that a register holds in front of word `before`."""
        at, extended = self._made(register, before), 0
        if at is not None and _extension(self.words[at]):
            extended = _extension(self.words[at])
            at = self._made(self.words[at] >> 21 & 31, at)
        if at is None or self._is_suffix(at) or at * 4 in self.code.regions.filled:
            return None
        load = _load(self.words[at])
        if load and load.displacement is not None:
            at = self._made(_sources(self.words[at])[0], at)
        if load is None or at is None or not (load.displacement is None or self._adds(at)):
            return None
        first, second = _sources(self.words[at])
        found = self._indexed(first, second, at) or self._indexed(second, first, at)
        if found is None or extended not in (0, load.size):
            return None
        table, step = found
        table = table._replace(offset=table.offset + (load.displacement or 0))
        return Read(table, load.size, load.signed or bool(extended), step)

    def _indexed(self, base: int, index: int, before: int) -> tuple[Place, int] | None:
        """The table that two registers address, and how far its entries are apart."""
        start = self._place(base, before) if base else None
        if start is None or self._made(index, before) is None:
            return None
        first, step = self._progression(index, before)
        return (start._replace(offset=start.offset + first % step), step) if step else None

    def _progression(self, register: int, before: int, depth: int = _SUMS) -> Progression:
        """The numbers that a register may hold in front of word `before`."""
        at = self._made(register, before) if depth else None
        if at is None or self._is_suffix(at) or at * 4 in self.code.regions.filled:
            return ANY
        return result(self.words[at], lambda source: self._progression(source, at, depth - 1))

    def _named(self, at: int) -> Place | None:
        """The address that an instruction makes by what it names, itself or in the TOC."""
        word, place = self.words[at], 4 * (at - self._is_suffix(at))
        if place not in self.code.regions.filled:
            return self._displacement(at)
        reference = self.references.get((self.code.section.number, place))
        if reference and reference.relocation.type in _CONTENTS.get(word >> 26, ()):
            reference = self.references.get((reference.number, reference.offset))
            if reference and reference.relocation.type != R_PPC64_ADDR64:
                return None
        elif reference and reference.relocation.type not in _ADDRESSES.get(word >> 26, ()):
            return None
        return Place(reference.number, reference.offset) if reference else None

    def _displacement(self, at: int) -> Place | None:
        """What a `pla` names whose displacement the assembler resolved."""
        prefix, word = self.words[at - 1], self.words[at]
        if at - 1 not in self.code.distances or word >> 26 != _ADDI:
            return None
        distance = power.prefixed_displacement(prefix, word)
        return Place(self.code.section.number, 4 * (at - 1) + distance)

    def _counter(self, at: int) -> Place | None:
        """What `mflr` reads: the address behind the `bcl` that was the last to set LR."""
        for index in range(at - 1, self.extent.start - 1, -1):
            word = self.words[index]
            if word in (power.BCL_NEXT, power.BL_NEXT):
                return Place(self.code.section.number, 4 * index + 4, RET)
            if is_call(word) or word & _MTLR_MASK == _MTLR or not self._falls_through(index):
                return None
        return None

    # Who wrote a register

    def _made(self, register: int, before: int) -> int | None:
        """The word that made what a register holds in front of word `before`, copies aside."""
        for _ in range(_DEPTH):
            at = self._written(register, before)
            source = None if at is None or self._is_suffix(at) else self._copied(at)
            if source is None:
                return at
            register, before = source
        return None

    def _written(self, register: int, before: int) -> int | None:
        """The word that wrote what a register holds in front of word `before`."""
        for at in range(before - 1, self.extent.start - 1, -1):
            word = self.words[at]
            if not self._falls_through(at):
                writers = self._all_writers().get(register, ())
                return writers[0] if len(writers) == 1 and register in NONVOLATILE else None
            if is_call(word) and register not in NONVOLATILE:
                return None
            if register in written(word):
                return at
        return None

    def _copied(self, at: int) -> tuple[int, int] | None:
        """The register that an instruction copies, and where that was read.

        That is done by `mr`, or by a load from a slot of the frame that is stored once.
        """
        word = self.words[at]
        if _is(word, _OR) and word >> 21 & 31 == word >> 11 & 31:
            return word >> 21 & 31, at
        stores = self._stores(at)
        return (self.words[stores[0]] >> 21 & 31, stores[0]) if len(stores) == 1 else None

    def _stores(self, at: int) -> list[int]:
        """The words that store to the slot of the frame that a word loads from."""
        word = self.words[at]
        if word >> 26 != _LD or word & 3 or word >> 16 & 31 not in _FRAME or self._is_suffix(at):
            return []
        return self._all_spills().get(word & 0x001FFFFC, [])

    def _all_spills(self) -> dict[int, list[int]]:
        """The words that are `std`, by base and displacement."""
        if self._spills is None:
            self._spills = {}
            for index in self.extent:
                word = self.words[index]
                if word >> 26 == _STD and not word & 3:
                    self._spills.setdefault(word & 0x001FFFFC, []).append(index)
        return self._spills

    def _falls_through(self, at: int) -> bool:
        """Whether the word behind is reached from word `at`.

        Not where a call may not return: there is a label behind it.
        """
        if at in self.code.regions.data_words or not goes_on(self.words[at]):
            return False
        if not is_call(self.words[at]):
            return True
        behind = at + 1 + (self.words[at + 1 : at + 2] == (power.NOP,))
        return self.code.labels.isdisjoint((4 * at + 4, 4 * behind))

    def _all_writers(self) -> dict[int, list[int]]:
        if self._writers is None:
            self._writers = {}
            for index in self.extent:
                if index in self.code.regions.data_words or self._is_restore(index):
                    continue
                if self.words[index] >> 26 == _ADDIS and 4 * index in self.code.regions.filled:
                    continue  # one half of an address, to which the other is added
                for register in written(self.words[index]):
                    self._writers.setdefault(register, []).append(index)
        return self._writers

    def _is_restore(self, at: int) -> bool:
        """Whether a register is loaded from the frame on the way to a return."""
        word = self.words[at]
        if word >> 26 != _LD or word >> 16 & 31 not in _FRAME:
            return False
        while at in self.extent and goes_on(self.words[at]):
            if is_call(self.words[at]) or self.words[at] >> 26 == power.B_FORM:
                return False
            at += 1
        return at in self.extent and self.words[at] & power.BCCTR_MASK != power.BCCTR

    def _adds(self, at: int) -> bool:
        """Whether a word is `add`."""
        return not self._is_suffix(at) and _is(self.words[at], _ADD)

    def _is_suffix(self, at: int) -> bool:
        """Whether a word is the second one of a prefixed instruction."""
        return at - 1 in self.extent and self.code.is_prefixed(at - 1)


def _load(word: int) -> Load | None:
    """What a load reads; None of what is no load."""
    opcode, extended = word >> 26, word >> 1 & 0x3FF
    if opcode == 31 and extended in _INDEXED:
        return Load(*_INDEXED[extended], None)
    if opcode in _DISPLACED:
        return Load(*_DISPLACED[opcode], _signed(word & 0xFFFF))
    if opcode == _LD and word & 3 in (_LD_FORM, _LWA_FORM):
        return Load(8 if word & 3 == _LD_FORM else 4, True, _signed(word & 0xFFFC))
    return None


def _extension(word: int) -> int:
    """The bytes that an instruction sign-extends; 0 where it does something else."""
    return _EXTENSIONS.get(word >> 1 & 0x3FF, 0) if word >> 26 == 31 else 0


def _sources(word: int) -> tuple[int, int]:
    """RA and RB."""
    return word >> 16 & 31, word >> 11 & 31


def _is(word: int, extended: int) -> bool:
    """Whether a word is an instruction of opcode 31."""
    return word >> 26 == 31 and word >> 1 & 0x3FF == extended


def _signed(field: int) -> int:
    return (field ^ 0x8000) - 0x8000
