"""Data inside code sections of IN: switch tables, traceback tables, declared and relocated words.

A word of data must not be read as an instruction: a traceback table's name can look like a branch,
and a switch table's entries are distances that must follow both the table and its targets. IN
alone is analysed; OUT is then held against what was found here.

- The extent of an STT_OBJECT is data: the gABI ("Symbol Table") says that such a symbol stands for
  a data object, and its size for how many bytes that has.
- What a relocation of data fills is data.
- Traceback tables (64-bit PowerPC ELF ABI supplement, 3.3 "Traceback Tables"): a zero word behind
  a function's last instruction, then the structure below, which doesn't reach into another
  function. `tb_offset` is the distance from the function's start to the zero word, resolved by the
  assembler: what has another number there is a literal that looks like a table.
- Words in front of a function that are no padding: a type's hash (LLVM, -fsanitize=function and
  kcfi), behind the end of the function before.
- Switch tables without relocations (GCC -mrelative-jumptables) lie behind the `bctr` that uses
  them, at an offset that some relocation (a .toc word, @toc@ha/@l, @pcrel) refers to. Their
  extent: as long as an entry leads to an instruction of the section outside the table, and no
  further than the first thing that is known to be code: the nearest target of an entry or branch,
  or a symbol. As distances within a section are small numbers, an entry's primary opcode is 0
  (reserved) or 63 with register fields that compilers do not produce, so code behind the table
  does not look like one.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import power
from nopfix.verifier.elf import FUNCTIONS, STT_OBJECT
from nopfix.verifier.relocation_types import DATA_WIDTH, is_marker

if TYPE_CHECKING:
    from nopfix.verifier.elf import Object, Section, Symbol

_HASH_WORDS = 2
"""Words in front of a function that may be its type's: a signature and a hash."""


class Table(NamedTuple):
    """A switch table of 4-byte distances, resolved by the assembler."""

    start: int
    targets: tuple[int, ...]
    """Offset in the section that each entry leads to."""


class Traceback(NamedTuple):
    """A traceback table: from its zero word to its end, rounded up to whole words."""

    start: int
    end: int
    tb_offset_at: int | None
    """Offset of tb_offset in the section, or None when it has none."""
    tb_offset: int


class Functions(NamedTuple):
    """The functions of a section, by their symbols."""

    names: dict[int, str]
    """Name by start."""
    starts: list[int]
    """In order."""
    ends: frozenset[int]
    """Where one that has a size ends."""

    def at(self, offset: int) -> int | None:
        """Start of the function that an offset lies in or behind."""
        position = bisect.bisect_right(self.starts, offset)
        return self.starts[position - 1] if position else None

    def between(self, start: int, end: int) -> bool:
        """Whether a function begins after `start` and before `end`."""
        position = bisect.bisect_right(self.starts, start)
        return position < len(self.starts) and self.starts[position] < end


class Regions(NamedTuple):
    """What is data in one code section."""

    tables: tuple[Table, ...]
    tracebacks: tuple[Traceback, ...]
    prefixes: frozenset[int]
    """Offsets at which the words in front of a function begin."""
    data_words: frozenset[int]
    """Indices of the words that are not instructions."""
    filled: frozenset[int]
    """Offsets of words that a relocation fills, rounded down to a word."""
    entries: frozenset[int]
    """Offsets of the words whose value depends on offsets."""
    objects: frozenset[int]
    """Indices of the words of data objects."""
    held: frozenset[int]
    """Those but for the first of each: nothing comes in between."""


def functions(symbols: list[Symbol]) -> Functions:
    """The functions among a section's symbols."""
    found = [symbol for symbol in symbols if symbol.type in FUNCTIONS]
    names = {symbol.value: symbol.name for symbol in found}
    ends = frozenset(symbol.value + symbol.size for symbol in found if symbol.size)
    return Functions(names, sorted(names), ends)


def find(
    obj: Object,
    section: Section,
    words: tuple[int, ...],
    symbols: list[Symbol],
    references: frozenset[int],
    branches: list[int],
) -> Regions:
    """Separate data from code.

    `words` are the section's words, `symbols` those defined in it, `references` the offsets in it
    that relocations anywhere in the object refer to, `branches` the indices of the words that are a
    PC-relative branch, or look like one.
    """
    relocations = obj.relocations.get(section.number, ())
    relocated: set[int] = set()
    for relocation in relocations:
        width = DATA_WIDTH.get(relocation.type, 0)
        first = relocation.place // 4
        relocated.update(range(first, first + width // 4))
    objects = _objects(section, symbols)
    data = relocated.union(*objects)
    known = functions(symbols)
    tracebacks = _tracebacks(section, words, known, data, {symbol.value for symbol in symbols})
    prefixes = _prefixes(words, known, data)
    tables = _tables(words, known, references, (data, relocated), branches)
    filled = frozenset(r.place & ~3 for r in relocations if not is_marker(r.type))
    entries = {table.start + 4 * k for table in tables for k in range(len(table.targets))}
    entries.update(t.tb_offset_at for t in tracebacks if t.tb_offset_at is not None)
    of_objects = frozenset[int]().union(*objects)
    held = frozenset[int]().union(*(words[1:] for words in objects))
    return Regions(
        *(tuple(tables), tuple(tracebacks), prefixes),
        *(frozenset(data), filled, frozenset(entries), of_objects, held),
    )


def _tables(
    words: tuple[int, ...],
    known: Functions,
    references: frozenset[int],
    taken: tuple[set[int], set[int]],
    branches: list[int],
) -> list[Table]:
    """The switch tables behind their branches; `taken`: the words that are data, to which those of
    the tables are added, and those that relocations fill.
    """
    data, relocated = taken
    stops = {i * 4 + power.displacement(words[i]) for i in branches if i not in data}
    stops.update(known.starts)
    found = []
    for start in sorted(references):
        if start % 4 or start // 4 in data or not _behind_bctr(words, start // 4):
            continue
        table = _table(words, start, stops, relocated)
        if table:
            found.append(table)
            data.update(range(start // 4, start // 4 + len(table.targets)))
    return found


def _objects(section: Section, symbols: list[Symbol]) -> list[range]:
    """The words of each data object among a section's symbols."""
    ends = ((s, min(s.value + s.size, len(section.data))) for s in symbols)
    return [
        range(symbol.value // 4, -(-end // 4))
        for symbol, end in ends
        if symbol.type == STT_OBJECT and symbol.size
    ]


def _behind_bctr(words: tuple[int, ...], index: int) -> bool:
    """True when nothing that is executed lies between a `bctr` and this word.

    With -mno-speculate-indirect-jumps that is `beqctr-` (CR bit set by `crset`), then a branch to
    itself that is never reached.
    """
    if index > len(words):
        return False
    index -= 1
    while index >= 0 and (power.is_padding(words[index]) or words[index] == power.B_SELF):
        index -= 1
    return index >= 0 and words[index] & power.BCCTR_MASK == power.BCCTR


def _table(
    words: tuple[int, ...], start: int, stops: set[int], relocated: set[int]
) -> Table | None:
    """The table of distances at `start`, or None when the first entry can't be one."""
    targets: list[int] = []
    limit = len(words) * 4
    place = start
    while place < limit and (place == start or place not in stops) and place // 4 not in relocated:
        word = words[place // 4]
        target = start + (word - (1 << 32) if word >> 31 else word)
        inside = start <= target <= place
        if target % 4 or not 0 <= target < len(words) * 4 or inside:
            break
        if target > start:
            limit = min(limit, target)
        targets.append(target)
        place += 4
    return Table(start, tuple(targets)) if targets else None


def _prefixes(words: tuple[int, ...], known: Functions, data: set[int]) -> frozenset[int]:
    """The words between the padding behind one function and the next one; they become data."""
    found = set()
    for start in known.starts:
        first = index = start // 4
        if start > 4 * len(words):
            continue
        while index and first - index <= _HASH_WORDS:
            before = index - 1
            filled = power.is_padding(words[before]) or words[before] == power.TRAP
            if index * 4 in known.ends or before in data or filled:
                break
            index = before
        behind_function = index * 4 in known.ends or index - 1 in data or _gap(words, known, index)
        if 0 < first - index <= _HASH_WORDS and (index == 0 or behind_function):
            found.add(index * 4)
            data.update(range(index, first))
    return frozenset(found)


def _gap(words: tuple[int, ...], known: Functions, index: int) -> bool:
    """Whether only padding lies between the end of a function and word `index`."""
    while index and power.is_padding(words[index - 1]):
        index -= 1
        if index * 4 in known.ends:
            return True
    return False


# Traceback tables


def _tracebacks(
    section: Section,
    words: tuple[int, ...],
    known: Functions,
    taken: set[int],
    begins: set[int],
) -> list[Traceback]:
    """All traceback tables of a section; their words are added to `taken`.

    `begins` are the offsets that symbols have: a distance to another place is none of a table's.
    """
    found = []
    place = 0
    ends = sorted(known.ends)
    for index, word in enumerate(words):
        if word or index < place or index in taken:
            continue
        table = _traceback(section.data, index * 4)
        if table is None or known.between(table.start, table.end):
            continue
        if table.tb_offset_at is not None and table.start - table.tb_offset not in begins:
            continue
        behind = bisect.bisect_right(ends, table.start)
        # The last word of the table may be filled up with padding.
        if table.end - 4 < min(ends[behind : behind + 1], default=table.end):
            found.append(table)
            place = table.end // 4
            taken.update(range(index, place))
    return found


_LANGUAGES = 15
"""Values of `lang`: 0 (C) to 14 (Objective-C)."""
_HAS_TBOFF, _HAS_CTL = 0x20, 0x08
_INT_HNDL, _NAME_PRESENT, _USES_ALLOCA = 0x80, 0x40, 0x20


def _traceback(data: bytes, start: int) -> Traceback | None:
    """The traceback table whose zero word is at `start`, or None.

    Version (0), language, two bytes of flags, two of saved registers, the numbers of fixed and
    floating parameters; then as the flags say: parminfo, tb_offset, hand_mask, ctl_info, name,
    alloca_reg.
    """
    head = data[start + 4 : start + 12]
    if len(head) < 8 or head[0] or head[1] >= _LANGUAGES:
        return None
    first, second, fixed, floating = head[2], head[3], head[6], head[7] >> 1
    at = start + 12 + (4 if fixed or floating else 0)
    tb_offset_at = at if first & _HAS_TBOFF else None
    at += 4 if first & _HAS_TBOFF else 0
    tb_offset = int.from_bytes(data[at - 4 : at], "little")
    at += 4 if second & _INT_HNDL else 0
    if first & _HAS_CTL:
        at += 4 + 4 * int.from_bytes(data[at : at + 4], "little")
    if second & _NAME_PRESENT:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    at += 1 if second & _USES_ALLOCA else 0
    end = (at + 3) // 4 * 4
    if end > len(data) or end - start > 4096 or any(data[at:end]):
        return None
    return Traceback(start, end, tb_offset_at, tb_offset if tb_offset_at is not None else 0)
