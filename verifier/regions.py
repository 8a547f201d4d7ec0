"""Data inside code sections of IN: switch tables, traceback tables, relocated words.

A word of data must not be read as an instruction: a traceback table's name can look like a branch,
and a switch table's entries are distances that must follow both the table and its targets. IN
alone is analysed; OUT is then held against what was found here.

Switch tables without relocations (GCC -mrelative-jumptables) lie behind the `bctr` that uses them,
at an offset that some relocation (a .toc word, @toc@ha/@l, @pcrel) refers to. Their extent: as
long as an entry leads to an instruction of the section outside the table, and no further than the
first thing that is known to be code: the nearest target of an entry or branch, or a symbol. As
distances within a section are small numbers, an entry's primary opcode is 0 (reserved) or 63 with
register fields that compilers do not produce, so code behind the table does not look like one.

Traceback tables: PowerPC ELF, "Traceback Tables" (as AIX): a zero word behind the last
instruction, then the structure below. `tb_offset` is the distance from the function's start to the
zero word, resolved by the assembler.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import construct

from verifier import power
from verifier.elf import STT_FUNC, Object, Section
from verifier.relocation_types import DATA_WIDTH

TRACEBACK = construct.Struct(
    "zero" / construct.Const(0, construct.Int32ul),
    "version" / construct.Const(0, construct.Int8ub),
    "language" / construct.Int8ub,
    "flags"
    / construct.BitStruct(
        "globallink" / construct.Flag,
        "is_eprol" / construct.Flag,
        "has_tboff" / construct.Flag,
        "int_proc" / construct.Flag,
        "has_ctl" / construct.Flag,
        "tocless" / construct.Flag,
        "fp_present" / construct.Flag,
        "log_abort" / construct.Flag,
        "int_hndl" / construct.Flag,
        "name_present" / construct.Flag,
        "uses_alloca" / construct.Flag,
        "cl_dis_inv" / construct.BitsInteger(3),
        "saves_cr" / construct.Flag,
        "saves_lr" / construct.Flag,
        "stores_bc" / construct.Flag,
        "fixup" / construct.Flag,
        "fpr_saved" / construct.BitsInteger(6),
        "has_ext" / construct.Flag,
        "has_vec" / construct.Flag,
        "gpr_saved" / construct.BitsInteger(6),
        "fixedparms" / construct.BitsInteger(8),
        "floatparms" / construct.BitsInteger(7),
        "parmsonstk" / construct.Flag,
    ),
    "parminfo"
    / construct.If(lambda c: c.flags.fixedparms or c.flags.floatparms, construct.Bytes(4)),
    "tb_offset_at" / construct.Tell,
    "tb_offset" / construct.If(construct.this.flags.has_tboff, construct.Int32ul),
    "hand_mask" / construct.If(construct.this.flags.int_hndl, construct.Bytes(4)),
    "ctl_info"
    / construct.If(
        construct.this.flags.has_ctl, construct.PrefixedArray(construct.Int32ul, construct.Int32ul)
    ),
    "name"
    / construct.If(
        construct.this.flags.name_present,
        construct.Prefixed(construct.Int16ul, construct.GreedyBytes),
    ),
    "alloca_reg" / construct.If(construct.this.flags.uses_alloca, construct.Int8ub),
    "end" / construct.Tell,
)


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


class Regions(NamedTuple):
    """What is data in one code section."""

    tables: tuple[Table, ...]
    tracebacks: tuple[Traceback, ...]
    data_words: frozenset[int]
    """Indices of the words that are not instructions."""
    relocated: frozenset[int]
    """Offsets that carry a relocation, rounded down to a word."""


def find(
    obj: Object, section: Section, words: tuple[int, ...], references: frozenset[int]
) -> Regions:
    """Separate data from code.

    `words` are the section's words, `references` the offsets in it that relocations anywhere in
    the object refer to.
    """
    relocations = obj.relocations.get(section.number, ())
    relocated_data: set[int] = set()
    for relocation in relocations:
        width = DATA_WIDTH.get(relocation.type, 0)
        first = relocation.place // 4
        relocated_data.update(range(first, first + width // 4))
    symbols = {
        symbol.value
        for symbol in obj.symbols
        if symbol.section == section.number and symbol.type == STT_FUNC
    }
    data = set(relocated_data)
    tracebacks = []
    place = 0
    while place < len(words):
        found = None
        if words[place] == 0 and place not in data:
            found = _traceback(section.data, place * 4)
        if found:
            tracebacks.append(found)
            data.update(range(place, found.end // 4))
        place = found.end // 4 if found else place + 1
    # Only now: what looks like a branch in a traceback table's name has no target.
    stops = _branch_targets(words, data) | symbols
    tables = []
    for start in sorted(references):
        if start % 4 or start // 4 in data or not _behind_bctr(words, start // 4):
            continue
        table = _table(words, start, stops, relocated_data)
        if table:
            tables.append(table)
            data.update(range(start // 4, start // 4 + len(table.targets)))
    return Regions(
        tuple(tables),
        tuple(tracebacks),
        frozenset(data),
        frozenset(relocation.place & ~3 for relocation in relocations),
    )


def _branch_targets(words: tuple[int, ...], data: set[int]) -> set[int]:
    targets = set()
    for index, word in enumerate(words):
        if power.is_relative_branch(word) and index not in data:
            targets.add(index * 4 + power.displacement(word))
    return targets


def _behind_bctr(words: tuple[int, ...], index: int) -> bool:
    """True when only padding lies between a `bctr` and this word."""
    if index > len(words):
        return False
    index -= 1
    while index >= 0 and power.is_padding(words[index]):
        index -= 1
    return index >= 0 and words[index] == power.BCTR


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


def _traceback(data: bytes, start: int) -> Traceback | None:
    """The traceback table whose zero word is at `start`, or None."""
    try:
        table: Any = TRACEBACK.parse(data[start : start + 4096])
    except construct.ConstructError:
        return None
    end = start + (table.end + 3) // 4 * 4
    if table.language > 14 or any(data[start + table.end : end]):
        return None
    if table.flags.has_tboff:
        return Traceback(start, end, start + table.tb_offset_at, table.tb_offset)
    return Traceback(start, end, None, 0)
