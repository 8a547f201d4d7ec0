"""What is known of a code section of IN before OUT is looked at: its calls, its labels, its nops.

Which `bl` gets a slot, from what the linker and the kernel's loader do with one (binutils,
bfd/elf64-ppc.c, ppc64_elf_relocate_section: "call lacks nop"; Linux, arch/powerpc/kernel/
module_64.c, restore_r2): a call of a function by R_PPC64_REL24, or resolved by the assembler, whose
next instruction becomes `ld r2,24(r1)`. Not those:

- R_PPC64_REL24_NOTOC: the caller keeps no TOC pointer (ELFv2 ABI, 3.5.3);
- what isn't called by the ABI's rules: the kernel's profiling hooks, the out-of-line register
  savers, `__morestack` (`power.EXEMPT`);
- `bl .+4`, and `bl` to a place that is no function's entry and begins with `mflr`, but not to keep
  LR: they read the program counter, or the address of the words behind the `bl`.

A nop behind a call is its slot unless it is somebody else's:

- behind the function's st_size it is padding: whoever copies the function leaves it there;
- a nop that something leads to (a branch, a symbol, a landing pad, who patches it): entered from
  there, `ld r2,24(r1)` would load garbage;
- the nop that keeps a prefixed instruction from crossing a 64-byte boundary goes when that moves.
"""

from __future__ import annotations

import bisect
import functools
import struct
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import power, regions
from nopfix.verifier.elf import FUNCTIONS, STT_NOTYPE, STT_SECTION
from nopfix.verifier.extents import Extents
from nopfix.verifier.registers import goes_on
from nopfix.verifier.relocation_types import DATA_WIDTH, FIELD, R_PPC64_REL24

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nopfix.verifier.elf import Object, Section, Symbol
    from nopfix.verifier.names import Names


class Ways:
    """Where the instructions of a section lead; few sections are asked, so it is found then."""

    def __init__(
        self,
        words: tuple[int, ...],
        functions: regions.Functions,
        data_words: frozenset[int],
        labels: frozenset[int],
    ) -> None:
        """The arguments are parts of `Code`."""
        self._words = words
        self._functions = functions
        self._data_words = data_words
        self._labels = labels

    @functools.cached_property
    def jumping(self) -> frozenset[int]:
        """The starts of the functions that have a branch by CTR which doesn't link."""
        found = {
            self._functions.at(4 * index)
            for index, word in enumerate(self._words)
            if word & power.BCCTR_MASK == power.BCCTR
        }
        return frozenset(start for start in found if start is not None)

    @functools.cached_property
    def unentered(self) -> frozenset[int]:
        """Indices of the words between an instruction that doesn't go on and the next label."""
        found, is_entered = [], True
        for index, before in enumerate((None, *self._words[:-1])):
            if before is None or 4 * index in self._labels:
                is_entered = True
            elif index - 1 in self._data_words or not goes_on(before):
                is_entered = False
            if not is_entered:
                found.append(index)
        return frozenset(found)


class Code(NamedTuple):
    """One code section of IN. Indices are numbers of words, offsets are in bytes."""

    section: Section
    words: tuple[int, ...]
    functions: regions.Functions
    regions: regions.Regions
    alike: list[int]
    """Indices of the words that are a PC-relative branch, or look like one."""
    branches: tuple[int, ...]
    """Those whose displacement the assembler resolved."""
    calls: dict[int, str]
    """Index of each `bl` that is a function call, and what it calls."""
    fronts: frozenset[int]
    """Offsets of what stands in front of a function's symbol and belongs to it: its type's hash,
    nops to be patched, the distance to the TOC that it loads (ELFv2 ABI, 2.3.2.1, large model)."""
    undeclared: frozenset[int]
    """Offsets of what has a size but no type, outside of functions: functions by a hand."""
    ends: frozenset[int]
    """Where functions and these end."""
    sleds: frozenset[int]
    """Offsets of XRay's sleds that are aligned to 8."""
    exits: frozenset[int]
    """Those of them at returns, where all of these are."""
    labels: frozenset[int]
    """Offsets that something refers to: padding never reaches across one."""
    guesses: frozenset[int]
    """Offsets that something may refer to: padding may be in front of them."""
    owned: frozenset[int]
    """Indices of nops that belong to whoever names them, or to the function that they begin."""
    unknown: frozenset[int]
    """Offsets whose address is in data that no rule knows."""
    widths: dict[int, int]
    """Offset of each relocated number: its bytes."""
    ahead: dict[int, int]
    """Offset of words directly in front of a function that are neither padding nor code (LLVM's
    prefix data, say, which is read from the function's address): how far it is from there."""
    vectors: dict[int, int]
    """Offsets of data from which vectors are read, and where that data begins (`vectors`)."""
    distances: frozenset[int]
    """Indices of the prefixed instructions that reach something at a distance from themselves
    which the assembler resolved."""
    ways: Ways

    def with_labels(self, labels: Iterable[int]) -> Code:
        """The same and offsets that something refers to."""
        return self._replace(labels=self.labels.union(labels))

    def function(self, offset: int) -> str:
        """Name of the function that an offset lies in, for messages."""
        start = self.functions.at(offset)
        return "" if start is None else self.functions.names[start]

    def lacks_slot(self, index: int) -> str | None:
        """Callee of the call in front of word `index` when it has no slot there."""
        callee = self.calls.get(index - 1)
        if callee is None or self.is_slot(index):
            return None
        return callee

    def is_slot(self, index: int) -> bool:
        """Whether word `index` is the slot of the call in front of it."""
        if index - 1 not in self.calls or index >= len(self.words):
            return False
        if index in self.regions.data_words or self.words[index] not in power.SLOTS:
            return False
        return self.words[index] != power.NOP or not self._somebody_elses(index)

    def _somebody_elses(self, index: int) -> bool:
        """Whether a nop behind a call can't be its slot."""
        offset = index * 4
        return (
            offset in self.ends
            or offset in self.labels
            or index in self.owned
            or (power.crosses_64_bytes(offset) and self.is_prefixed(index + 1))
        )

    def jumps_by_address(self, offset: int) -> bool:
        """Whether a branch of the function at an offset may read an address from data.

        That is one by CTR that doesn't link. A function's cold part is jumped to from the other.
        """
        start = self.functions.at(offset)
        if start is None or ".cold" in self.functions.names[start]:
            return True
        return start in self.ways.jumping

    def is_entered(self, index: int) -> bool:
        """Whether anything may lead to word `index`; if not, it is data, or never executed.

        Nothing does if one goes back from there to an instruction that doesn't go on, without
        meeting a label, in a function without a branch by CTR: all its ways in are known.
        """
        if self.jumps_by_address(index * 4):
            return True
        return index not in self.ways.unentered

    def is_prefixed(self, index: int) -> bool:
        """Whether word `index` begins a prefixed instruction."""
        return (
            index + 1 < len(self.words)
            and self.words[index] >> 26 == power.PREFIX
            and index not in self.regions.data_words
        )


def words_of(data: bytes) -> tuple[int, ...]:
    """The whole words of a section."""
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])


def examine(
    old: Object, section: Section, symbols: list[Symbol], names: Names, entered: frozenset[int]
) -> Code:
    """Find out what is known of a section.

    `symbols` are those defined in it, `names` what relocations name in it, `entered` its landing
    pads.
    """
    words = words_of(section.data)
    functions = regions.functions(symbols)
    alike = power.branches(words)
    found = regions.find(old, section, words, symbols, names.labels, alike)
    branches = tuple(
        index for index in alike if index not in found.data_words and index * 4 not in found.filled
    )
    labels = _labels(words, branches, symbols, found, names) | entered
    widths, undeclared = _widths(old, section), _undeclared(functions, symbols)
    return Code(
        section,
        words,
        functions,
        found,
        alike,
        branches,
        _calls(old, section, branches, symbols, found),
        found.prefixes | names.patchable | _toc_distances(functions, widths),
        frozenset(undeclared),
        functions.ends.union(undeclared.values()),
        frozenset(offset for offset in names.sleds if not offset % 8),
        names.exits if not any(offset % 8 for offset in names.exits) else frozenset(),
        labels,
        names.guesses,
        _owned(words, functions, symbols, names),
        names.unknown,
        widths,
        _ahead(words, functions, found, alike, labels),
        {},
        _distances(words, found),
        Ways(words, functions, found.data_words, labels | _behind_morestack(old, section)),
    )


def _behind_morestack(old: Object, section: Section) -> frozenset[int]:
    """Where `__morestack` comes back to: behind three words, which it runs when all is done
    (libgcc/config/rs6000/morestack.S).
    """
    return frozenset(
        relocation.place + 16
        for relocation in old.relocations.get(section.number, ())
        if old.symbols[relocation.symbol].name in power.MORESTACK
    )


def _toc_distances(functions: regions.Functions, widths: dict[int, int]) -> set[int]:
    """Offsets of doublewords in front of functions: distances to the TOC."""
    return {start - 8 for start in functions.starts if widths.get(start - 8) == 8}


def _undeclared(functions: regions.Functions, symbols: list[Symbol]) -> dict[int, int]:
    """Start and end of each; see `Code.undeclared`."""
    inside = Extents(range(s.value, s.value + s.size) for s in symbols if s.type in FUNCTIONS)
    return {
        symbol.value: symbol.value + symbol.size
        for symbol in symbols
        if symbol.type == STT_NOTYPE
        and symbol.size
        and symbol.value not in inside
        and not functions.between(symbol.value - 1, symbol.value + symbol.size)
    }


def _widths(old: Object, section: Section) -> dict[int, int]:
    relocations = old.relocations.get(section.number, ())
    return {r.place: DATA_WIDTH[r.type] for r in relocations if r.type in DATA_WIDTH}


def _distances(words: tuple[int, ...], found: regions.Regions) -> frozenset[int]:
    prefixes = [index for index, word in enumerate(words) if word >> 26 == power.PREFIX]
    return frozenset(
        index
        for index in prefixes
        if index + 1 < len(words)
        and power.is_pc_relative(words[index])
        and index not in found.data_words
        and index * 4 not in found.filled
    )


def _ahead(
    words: tuple[int, ...],
    functions: regions.Functions,
    found: regions.Regions,
    alike: list[int],
    labels: frozenset[int],
) -> dict[int, int]:
    """What lies directly in front of functions; see `Code.ahead`."""
    ends = sorted(functions.ends)
    ahead = {}
    for start in functions.starts:
        position = bisect.bisect_right(ends, start)
        first = ends[position - 1] + 3 & ~3 if position else start
        if first >= start or functions.between(first - 1, start):
            continue
        while first < start and _is_free(words, first // 4, found):
            first += 4
        own = range(first // 4, start // 4)
        if not own or _is_free(words, own[-1], found) or words[own[-1]] == power.TRAP:
            continue
        if own[-1] in found.objects:
            continue
        position = bisect.bisect_left(alike, own[0])
        likely = set(alike[position : bisect.bisect_left(alike, own[-1] + 1)]) - found.data_words
        known = {4 * index + power.displacement(words[index]) for index in likely}
        known |= found.prefixes
        if any(4 * index in labels and 4 * index not in known for index in own[1:]):
            continue
        if likely.isdisjoint(_run(words, own)):
            ahead[first] = start - first
    return ahead


def _is_free(words: tuple[int, ...], index: int, found: regions.Regions) -> bool:
    """Whether a word between functions is a no-op, and no data that looks like one."""
    return power.is_padding(words[index]) and index not in found.data_words


def _run(words: tuple[int, ...], own: range) -> range:
    """Which of some words may be executed, if the first is."""
    stops = (count for count, index in enumerate(own, 1) if not goes_on(words[index]))
    return own[: next(stops, len(own))]


def _labels(
    words: tuple[int, ...],
    branches: tuple[int, ...],
    symbols: list[Symbol],
    found: regions.Regions,
    names: Names,
) -> frozenset[int]:
    labels = set(names.labels)
    labels.update(symbol.value for symbol in symbols if symbol.type != STT_SECTION)
    labels.update(index * 4 + power.displacement(words[index]) for index in branches)
    labels.update(found.prefixes)
    for table in found.tables:
        labels.update(table.targets)
        labels.add(table.start)
    return frozenset(labels - names.returns)


def _owned(
    words: tuple[int, ...], functions: regions.Functions, symbols: list[Symbol], names: Names
) -> frozenset[int]:
    """The nops that aren't padding, as somebody names them or a function begins with them."""
    begin = (names.owned | functions.names.keys()) - names.returns
    inside = range(4 * len(words))
    owned = {offset // 4 for offset in begin if offset in inside}
    for offset in filter(inside.__contains__, names.patchable):
        # Up to the function's label and, as they are its first instructions, behind it.
        index = offset // 4
        while index < len(words) and power.is_padding(words[index]):
            owned.add(index)
            index += 1
    return frozenset(index for index in owned if power.is_padding(words[index]))


# Calls


def _calls(
    old: Object,
    section: Section,
    branches: tuple[int, ...],
    symbols: list[Symbol],
    found: regions.Regions,
) -> dict[int, str]:
    """All calls of functions, and what they call, but for those that never get a slot."""
    words, functions = words_of(section.data), regions.functions(symbols)
    relocations = old.relocations.get(section.number, ())
    calls: dict[int, str] = {}
    for relocation in relocations:
        index = relocation.place // 4
        branch = FIELD.get(relocation.type) == "branch24" and index < len(words)
        if not branch or index in found.data_words:
            continue
        if relocation.type == R_PPC64_REL24 and power.is_call(words[index]):
            name = old.symbol_name(relocation.symbol)
            calls[index] = name + (f"+{relocation.addend:#x}" if relocation.addend else "")
    entries = {symbol.value for symbol in symbols if symbol.type != STT_SECTION}
    # A function's local entry is behind its global one (ELFv2 ABI, 3.4.1: st_other).
    entries |= {symbol.value + symbol.local_entry for symbol in symbols}
    for index in branches:
        if not power.is_call(words[index]):
            continue
        target = index * 4 + power.displacement(words[index])
        if target != index * 4 + 4 and (target in entries or not _reads_lr(words, target)):
            calls[index] = functions.names.get(target, f"+{target:#x}")
    return {index: callee for index, callee in calls.items() if not power.is_exempt(callee)}


def _reads_lr(words: tuple[int, ...], target: int) -> bool:
    """Whether the code at an offset begins with `mflr`, and not only to keep LR for its return."""
    index, rest = divmod(target, 4)
    if rest or not 0 <= index < len(words) or words[index] & power.MFLR_MASK != power.MFLR:
        return False
    register = words[index] & 0x03E00000
    for word in words[index + 1 : index + 16]:
        if word in (power.MTLR | register, power.STD_LR_SAVE | register):
            return False
        if word == power.BCL_NEXT:
            continue
        if word >> 26 in (power.I_FORM, power.B_FORM, 19) or register >> 21 in power.named(word):
            break
    return True
