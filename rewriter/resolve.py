"""All indirect branches of an object, proved one function at a time.

The problem: what a jump through a table leads to is known only when the table is, and the table is
found by following registers through a graph in which that jump is an edge.

The rule: begin without such edges, prove what can be proved, add the edges, and begin again until
nothing changes.  A result that needs no edge which it doesn't itself give holds for every run of
the function, by induction over the jumps of that run.  What is unproved then is refused.

Only functions with an indirect branch are looked at.  A function's fragments are found by following
branches into the middle of others (name.cold, hand-written code).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from rewriter import control_flow, elf, indirect, instruction, switch_table
from rewriter.analysis import SWITCH_TABLE, Difference, IndirectBranch, Region
from rewriter.control_flow import Fragment, Jumps, Place, Roots
from rewriter.errors import Refusal
from rewriter.indirect import (
    Address,
    Definition,
    Distance,
    Entry,
    External,
    Number,
    Pointer,
    Slice,
    Unresolved,
)
from rewriter.instruction import NO_OPERATIONS
from rewriter.relocation import MARKERS
from rewriter.semantics import CTR, LR, is_call
from rewriter.switch_table import Surroundings, Table

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeVar

    from dwarf.offset_map import Side
    from rewriter.calls import Functions

    _T = TypeVar("_T")

_REL32 = 26
_ADDR64 = 38
_BRANCHES = frozenset((10, 11, 12, 13, 116, 124))
"""REL24, REL14*, REL24_NOTOC, REL24_P9NOTOC."""

_RESTORE_LR = ("_restgpr0_", "_restfpr_")
"""How routines that load LR from the stack and return are called; the _restgpr1_ ones leave LR."""

# What a relocated instruction works with: TOC16*, GOT16*, PLT16*, PCREL34 and their kin.
_MEANING = {
    **dict.fromkeys((47, 48, 63, 64, 132), "address"),
    **dict.fromkeys((49, 50, 16, 17, 30, 31), "high"),
    **dict.fromkeys((14, 15, 58, 59, 29, 60, 133, 134, 135), "got"),
}
_JUMP_ENTRY = 16
"""Bytes of an entry of __jump_table: code and target, PC-relative, and the key's distance."""

# Sections whose relocations into code aren't places that anything jumps to.
_NO_LABELS = frozenset(
    (".eh_frame", "__bug_table", "__mcount_loc", "__patchable_function_entries", ".stack_sizes")
)
_REMEDY = "compile this file with -fno-jump-tables, or without computed gotos"
_MOST_ROUNDS = 64


class Found(NamedTuple):
    """What was proved, in the form of `analysis.Analysis`."""

    regions: dict[int, list[Region]]
    differences: dict[int, list[Difference]]
    base_relative: dict[tuple[int, int], int]
    targets: dict[int, set[int]]
    branches: list[IndirectBranch]
    read_addresses: dict[int, list[tuple[int, int]]]


class Objects(NamedTuple):
    """Where symbols of a data section begin, ascending; the sizes in bytes of those that are data.

    ``furthest`` is, for each start, the largest end of this one and all before it.
    """

    starts: Sequence[int]
    sizes: Mapping[int, int]
    furthest: Sequence[int]


_NO_OBJECTS = Objects((), {}, ())


class Proof(NamedTuple):
    """What one indirect branch was shown to be.

    ``through_memory`` says that the target is an address that was kept in memory.
    """

    kind: str
    tables: tuple[Table, ...]
    targets: frozenset[Place]
    reasons: tuple[str, ...]
    through_memory: bool


def prove(
    obj: elf.Object,
    functions: Mapping[int, Functions],
    jumps: Mapping[int, Sequence[int]],
    regions: Mapping[int, Sequence[Region]],
) -> Found:
    """Prove the indirect branches ``jumps`` (offsets by section number).

    ``regions`` are the data known so far.  Raises `Refusal` for the first that can't be proved.
    """
    program = _Program(obj, functions, regions)
    found = Found({}, {}, {}, {}, [], {})
    proofs: dict[Place, Proof] = {}
    for section, offsets in jumps.items():
        for offset in offsets:
            place = (section, offset)
            if place not in proofs and not program.is_data(place):
                proofs.update(_prove_function(program, place, jumps))
    tables: dict[Address, Table] = {}
    for place, proof in sorted(proofs.items()):
        name = program.function_name(place)
        section_name = obj.sections[place[0]].name
        found.branches.append(
            IndirectBranch(section_name, place[1], name, proof.kind, proof.reasons)
        )
        if proof.through_memory and proof.kind == "computed goto":
            found.read_addresses.setdefault(place[0], []).append(program.extent(place))
        for target_section, target in proof.targets:
            found.targets.setdefault(target_section, set()).add(target)
        for table in proof.tables:
            known = tables.setdefault(table.address, table)
            if (known.base, known.size, known.length) != (table.base, table.size, table.length):
                raise Refusal(
                    f"two branches use the table at {table.address.offset:#x} differently",
                    section=section_name,
                    offset=place[1],
                    function=name,
                    remedy=_REMEDY,
                )
    for table in tables.values():
        _record(program, table, found)
    return found


def _record(program: _Program, table: Table, found: Found) -> None:
    """Add what has to be changed because of ``table``."""
    section, start = table.address
    if program.is_code(section):
        region = Region(start, table.end, SWITCH_TABLE, 8 if table.size == 8 else 4)
        found.regions.setdefault(section, []).append(region)
    if table.base is None:
        return
    differences = []
    for index, target in enumerate(table.targets):
        place = start + index * table.size
        if place in table.relocated:
            found.base_relative[section, place] = table.base.offset
        else:
            side: Side = "after" if program.is_end(target) else "start"
            differences.append(
                Difference(place, table.size, target[1], side, table.base.offset, target[0])
            )
    if differences:
        found.differences.setdefault(section, []).extend(differences)


# -- the object, as far as proofs ask --------------------------------------------------------------


class _Program:
    """What proofs look up in the object; every index is made when it is first needed."""

    def __init__(
        self,
        obj: elf.Object,
        functions: Mapping[int, Functions],
        regions: Mapping[int, Sequence[Region]],
    ) -> None:
        self.obj = obj
        self.has_tables = any(
            section.name.startswith(".rodata") and _REL32 in obj.relocations[section.number].types
            for section in obj.sections
            if section.number in obj.relocations
        )
        self.functions = functions
        self.data = {
            number: [(region.start, region.end) for region in own]
            for number, own in regions.items()
        }
        words = sum(s.size for s in obj.sections if s.flags & elf.SHF_EXECINSTR) >> 2
        self.facts = indirect.Facts(self.relocated, self.stored_address, self.is_code, words)
        self.sweeps: dict[tuple[int, int, int], Jumps] = {}
        self._words: dict[int, array[int]] = {}
        self._places: dict[int, dict[int, int]] = {}
        self._stored: dict[int, dict[int, dict[int, Place | None]]] = {}
        self._references: dict[int, list[int]] | None = None
        self._symbols: dict[int, list[int]] | None = None
        self._objects: dict[int, Objects] | None = None
        self._addresses: dict[int, list[int]] = {}
        self._labels: dict[int, list[int]] = {}
        self._special: dict[int, list[int]] = {}
        # By the section that they lead from, or to, in ascending order of the offset there.
        self._jump_labels_from: dict[int, list[tuple[int, Place]]] = {}
        self._jump_labels_to: dict[int, list[tuple[int, Place]]] = {}
        self._incoming: dict[int, list[tuple[int, Place]]] = {}
        self._crossing: dict[int, list[tuple[int, Place]]] = {}
        self._landing_pads: dict[int, list[tuple[int, Sequence[Place]]]] | None = None

    def is_code(self, section: int) -> bool:
        return bool(self.obj.sections[section].flags & elf.SHF_EXECINSTR)

    def holds(self, address: Address) -> bool:
        """Whether ``address`` lies inside of its section, or the section is code."""
        section, offset = address
        return self.is_code(section) or 0 <= offset < self.obj.sections[section].size

    def is_data(self, place: Place) -> bool:
        runs = self.data.get(place[0], [])
        index = bisect_right(runs, (place[1], 1 << 64)) - 1
        return index >= 0 and place[1] < runs[index][1]

    def is_end(self, place: Place) -> bool:
        """Whether the instructions of a function end at ``place``."""
        section, offset = place
        runs = self.data.get(section, [])
        index = bisect_left(runs, (offset, 0))
        if index < len(runs) and runs[index][0] == offset:
            return True
        own = self.functions.get(section)
        if own is None:
            return offset == self.obj.sections[section].size
        index = bisect_left(own.starts, offset) - 1
        return index >= 0 and own.ends[index] == offset

    def words(self, section: int) -> array[int]:
        if section not in self._words:
            data = self.obj.contents(section)
            self._words[section] = elf.column(data[: len(data) & ~3], "I")
        return self._words[section]

    def is_call(self, place: Place) -> bool:
        """Whether the branch at ``place`` comes back (LK); True where no whole word lies there."""
        words = self.words(place[0])
        index = place[1] >> 2
        return index >= len(words) or bool(words[index] & 1)

    def function_name(self, place: Place) -> str | None:
        own = self.functions.get(place[0])
        if own is None:
            return None
        index = bisect_right(own.starts, place[1]) - 1
        return own.names[index] if index >= 0 else None

    def extent(self, place: Place) -> tuple[int, int]:
        """Start and end of the function around ``place``; it ends where the next one begins."""
        own = self.functions.get(place[0])
        size = len(self.words(place[0])) * 4
        if own is None:
            return 0, size
        index = bisect_right(own.starts, place[1]) - 1
        start = own.starts[index] if index >= 0 else 0
        return start, own.starts[index + 1] if index + 1 < len(own.starts) else size

    # -- relocations ---------------------------------------------------------------------------

    def places(self, section: int) -> dict[int, int]:
        """The index of the relocation that fills each offset of ``section``."""
        if section not in self._places:
            relocations = self.obj.relocations.get(section)
            types = relocations.types if relocations else ()
            self._places[section] = {
                relocations.places[index]: index
                for index, kind in enumerate(types)
                if relocations and kind not in MARKERS
            }
        return self._places[section]

    def target(self, relocations: elf.Relocations, index: int) -> Address | External:
        """What symbol + addend of a relocation are."""
        symbols = self.obj.symbols
        symbol = relocations.symbols[index]
        section = symbols.sections[symbol]
        if section > 0:
            return Address(section, symbols.values[symbol] + relocations.addends[index])
        return External(symbols.name(symbol))

    def relocated(self, place: Place) -> tuple[str, Address | External] | None:
        """`indirect.Facts.relocated`."""
        index = self.places(place[0]).get(place[1])
        if index is None:
            return None
        relocations = self.obj.relocations[place[0]]
        kind = relocations.types[index]
        return _MEANING.get(kind, "other"), self.target(relocations, index)

    def branch_target(self, place: Place) -> Place | None:
        index = self.places(place[0])[place[1]]
        relocations = self.obj.relocations[place[0]]
        if relocations.types[index] not in _BRANCHES:
            return None
        target = self.target(relocations, index)
        return (target.section, target.offset) if isinstance(target, Address) else None

    def restores_lr(self, place: Place) -> bool:
        """Whether ``place`` branches to a routine that loads LR from the stack and returns.

        Source: ELFv2 ABI, 2.3.3 (register save and restore functions).
        """
        index = self.places(place[0]).get(place[1])
        if index is None:
            return False
        relocations = self.obj.relocations[place[0]]
        name = self.obj.symbols.name(relocations.symbols[index])
        return relocations.types[index] in _BRANCHES and name.startswith(_RESTORE_LR)

    def stored(self, section: int, kind: int) -> dict[int, Place | None]:
        """Where the relocations of type ``kind`` in ``section`` point, by place."""
        by_kind = self._stored.setdefault(section, {})
        if kind not in by_kind:
            by_kind[kind] = found = {}
            relocations = self.obj.relocations.get(section)
            if relocations is not None:
                for index, own in enumerate(relocations.types):
                    if own == kind:
                        target = self.target(relocations, index)
                        found[relocations.places[index]] = (
                            (target.section, target.offset) if isinstance(target, Address) else None
                        )
        return by_kind[kind]

    def stored_address(self, address: Address) -> Address | External | None:
        """`indirect.Facts.stored_address`: only from data that a program doesn't change."""
        section = self.obj.sections[address.section]
        if section.flags & 1 and not section.name.startswith(_CONSTANT):
            return None
        index = self.places(address.section).get(address.offset)
        if index is None:
            return None
        relocations = self.obj.relocations[address.section]
        if relocations.types[index] != _ADDR64:
            return None
        return self.target(relocations, index)

    # -- who refers to what --------------------------------------------------------------------

    def _survey(self) -> dict[int, list[int]]:
        """One pass over the relocations of all sections that are loaded."""
        if self._references is not None:
            return self._references
        references: dict[int, set[int]] = {}
        addresses: dict[int, set[int]] = {}
        labels: dict[int, set[int]] = {}
        special: dict[int, set[int]] = {}
        symbol_sections = self.obj.symbols.sections
        symbol_values = self.obj.symbols.values
        for section, relocations in self.obj.relocations.items():
            header = self.obj.sections[section]
            if not header.flags & elf.SHF_ALLOC or header.name == ".eh_frame":
                continue
            jumps = self._read_jump_table(section) if header.name == "__jump_table" else None
            for code, label in jumps or ():
                self._jump_labels_from.setdefault(code[0], []).append((code[1], label))
                self._jump_labels_to.setdefault(label[0], []).append((label[1], code))
            is_code = self.is_code(section)
            tables = not is_code and header.name.startswith(".rodata")
            for index, symbol in enumerate(relocations.symbols):
                target = symbol_sections[symbol]
                if target <= 0:
                    continue
                kind = relocations.types[index]
                offset = symbol_values[symbol] + relocations.addends[index]
                if kind in _BRANCHES and is_code:
                    source = (section, relocations.places[index])
                    self._incoming.setdefault(target, []).append((offset, source))
                    continue
                references.setdefault(target, set()).add(offset)
                # The addend of a REL32 in a table counts from the table's start.
                if kind != _REL32:
                    addresses.setdefault(target, set()).add(offset)
                # A REL32 in read-only data is a table's entry; its addend isn't a target.
                if header.name in _NO_LABELS or (tables and kind == _REL32) or jumps:
                    continue
                if header.name.startswith("__"):
                    special.setdefault(target, set()).add(offset)
                else:
                    labels.setdefault(target, set()).add(offset)
        self._addresses = {section: sorted(own) for section, own in addresses.items()}
        self._labels = {section: sorted(own) for section, own in labels.items()}
        self._special = {section: sorted(own) for section, own in special.items()}
        self._references = {section: sorted(own) for section, own in references.items()}
        for by_section in (self._jump_labels_from, self._jump_labels_to, self._incoming):
            for pairs in by_section.values():
                pairs.sort()
        return self._references

    def labels(self, section: int, start: int, end: int) -> Sequence[int]:
        """The offsets from start to end that a program may take the address of."""
        self._survey()
        return _from(self._labels.get(section, ()), start, end)

    def special_labels(self, section: int, start: int, end: int) -> Sequence[int]:
        """The offsets from start to end that a special section (__ex_table, ...) refers to."""
        self._survey()
        return _from(self._special.get(section, ()), start, end)

    def jump_labels_from(self, section: int, start: int, end: int) -> list[tuple[int, Place]]:
        """Instructions from start to end that the kernel turns into a no-op or a branch.

        Each offset comes with where the branch leads.
        """
        self._survey()
        return _between(self._jump_labels_from.get(section, ()), start, end)

    def jump_labels_to(self, section: int, start: int, end: int) -> list[tuple[int, Place]]:
        """The offsets from start to end that jump labels lead to, each with the jump label."""
        self._survey()
        return _between(self._jump_labels_to.get(section, ()), start, end)

    def _read_jump_table(self, section: int) -> list[tuple[Place, Place]] | None:
        """The entries of a __jump_table; None where they aren't as the kernel writes them.

        Source: Linux, include/linux/jump_label.h, struct jump_entry with relative references.
        """
        places = self.stored(section, _REL32)
        found = []
        for place, code in places.items():
            if place % _JUMP_ENTRY:
                continue
            target = places.get(place + 4)
            if code is None or target is None or (code[1] | target[1]) & 3:
                return None
            found.append((code, target))
        return found if 2 * len(found) == len(places) else None

    def incoming(self, section: int, start: int, end: int) -> list[tuple[int, Place]]:
        """Branches from elsewhere to the offsets from start to end: (offset, who branches)."""
        self._survey()
        return [
            (offset, source)
            for index in (self._incoming.get(section, ()), self._near(section))
            for offset, source in _between(index, start, end)
            if not (source[0] == section and start <= source[1] < end)
        ]

    def _near(self, section: int) -> list[tuple[int, Place]]:
        """Branches from one function of ``section`` into another that aren't relocated.

        In ascending order of the offset that they lead to.
        """
        if section not in self._crossing:
            words = self.words(section)
            self._crossing[section] = found = []
            start = end = 0
            data = self.data.get(section, ())
            for place, target in instruction.sweep(words, data, self.places(section)).branches:
                if not start <= place < end:
                    start, end = self.extent((section, place))
                if not start <= target < end:
                    found.append((target, (section, place)))
            found.sort()
        return self._crossing[section]

    def landing_pads(self, section: int, start: int, end: int) -> list[tuple[int, Sequence[Place]]]:
        """The landing pads from start to end, each with the calls that lead to it.

        None where an instruction that traps may do so too (-fnon-call-exceptions).
        """
        if self._landing_pads is None:
            from rewriter import dwarf_sections

            pads: dict[Place, list[Place]] = {}
            trapping = set()
            for site in dwarf_sections.landing_pads(self.obj):
                words = self.words(site.section)
                calls = [
                    (site.section, offset)
                    for offset in range(site.start & ~3, min(site.end, 4 * len(words)), 4)
                    if is_call(words[offset >> 2])
                ]
                pad = site.pad.section, site.pad.offset
                pads.setdefault(pad, []).extend(calls)
                if not calls:
                    trapping.add(pad)
            self._landing_pads = {}
            for pad, calls in sorted(pads.items()):
                item = pad[1], () if pad in trapping else calls
                self._landing_pads.setdefault(pad[0], []).append(item)
        return _between(self._landing_pads.get(section, ()), start, end)

    def symbols(self, section: int, start: int, end: int) -> Sequence[int]:
        """Where symbols that aren't functions name code from start to end."""
        if self._symbols is None:
            self._symbols = {}
            symbols = self.obj.symbols
            for symbol, own in enumerate(symbols.sections):
                if own > 0 and not symbols.type(symbol) and self.is_code(own):
                    self._symbols.setdefault(own, []).append(symbols.values[symbol])
            for values in self._symbols.values():
                values.sort()
        return _from(self._symbols.get(section, ()), start, end)

    def objects(self, section: int) -> Objects:
        """The data that symbols of ``section`` name."""
        if self._objects is None:
            self._objects = {}
            symbols = self.obj.symbols
            sizes: dict[int, dict[int, int]] = {}
            for symbol, own in enumerate(symbols.sections):
                if own > 0 and not self.is_code(own) and symbols.type(symbol) != elf.STT_SECTION:
                    known = sizes.setdefault(own, {})
                    start = symbols.values[symbol]
                    is_object = symbols.type(symbol) == elf.STT_OBJECT
                    known[start] = max(known.get(start, 0), symbols.sizes[symbol] * is_object)
            for own, known in sizes.items():
                starts = sorted(known)
                ends = accumulate((start + known[start] for start in starts), max)
                self._objects[own] = Objects(starts, known, list(ends))
        return self._objects.get(section, _NO_OBJECTS)

    def surroundings(self, address: Address) -> Surroundings:
        """What `switch_table` asks about the section around a table."""
        section, start = address
        header = self.obj.sections[section]
        if not 0 <= start < header.size:
            raise Unresolved("its table lies outside of the section")
        is_code = self.is_code(section)
        limit = header.size
        extent = 0
        begins_inside = False
        self._survey()
        if is_code:
            limit = min(limit, _next(self._addresses.get(section, []), start, limit))
        else:
            objects = self.objects(section)
            limit = min(limit, _next(self._survey().get(section, []), start, limit))
            limit = min(limit, _next(objects.starts, start, limit))
            extent = objects.sizes.get(start, 0)
            before = bisect_left(objects.starts, start) - 1
            begins_inside = before >= 0 and start < objects.furthest[before]
        return Surroundings(
            self.obj.contents(section),
            self.stored(section, _REL32),
            self.stored(section, _ADDR64),
            limit,
            extent,
            begins_inside,
            is_code,
            bool(header.flags & 1),
        )


def _from(offsets: Sequence[int], start: int, end: int) -> Sequence[int]:
    """Those of the ascending ``offsets`` from ``start`` to ``end``."""
    return offsets[bisect_left(offsets, start) : bisect_left(offsets, end)]


def _between(pairs: Sequence[tuple[int, _T]], start: int, end: int) -> list[tuple[int, _T]]:
    """Those of ``pairs``, which ascend, whose first number is one from ``start`` to ``end``."""
    return list(pairs[bisect_left(pairs, (start,)) : bisect_left(pairs, (end,))])


def _next(offsets: Sequence[int], offset: int, otherwise: int) -> int:
    """The first of the ascending ``offsets`` that is larger than ``offset``."""
    index = bisect_right(offsets, offset)
    return offsets[index] if index < len(offsets) else otherwise


_CONSTANT = (".toc", ".got", ".data.rel.ro", ".init_array", ".fini_array")
"""Sections that are writable only for the dynamic linker."""


_ANYWHERE = ("computed goto", "tail call")
"""Kinds of branches that may lead to any label whose address is taken."""


class Lost(Unresolved):
    """Nothing is seen to lead to the branch: dead code, or entered in a way that can't be seen."""


# -- one function ----------------------------------------------------------------------------------


def _prove_function(
    program: _Program, place: Place, jumps: Mapping[int, Sequence[int]]
) -> dict[Place, Proof]:
    """Prove every indirect branch of the function around ``place``."""
    extents = _fragments(program, place)
    own_jumps = [
        (section, offset)
        for section, start, end in extents
        for offset in _from(jumps.get(section, ()), start, end)
        if not program.is_data((section, offset))
    ]
    pieces = [_sweep(program, extent) for extent in extents]
    proofs: dict[Place, Proof] = {}
    lost: set[Place] = set()
    complaints: dict[Place, Unresolved] = {}
    earlier: list[tuple[dict[Place, Proof], set[Place]]] = []
    for _ in range(_MOST_ROUNDS):
        slices = Slice(_graph(program, pieces, own_jumps, proofs, lost), program.facts)
        still_lost = set(lost)
        found: dict[Place, Proof] = {}
        failed: dict[Place, Unresolved] = {}
        for jump in own_jumps:
            try:
                found[jump] = _prove_jump(program, slices, jump)
            except Lost as why:
                failed[jump] = why
                block = slices.graph.block_at(jump)
                still_lost.add((block.section, block.start))
            except Unresolved as why:
                failed[jump] = why
        complaints.update(failed)
        if found == proofs and lost == still_lost:
            complaints = failed
            if failed:
                break
            if any(proof.through_memory for proof in found.values()) and (
                program.has_tables or any(program.labels(*extent) for extent in extents)
            ):
                _check_label_arithmetic(program, slices, found)
            return found
        if (found, still_lost) in earlier:
            break  # Proved without the edges that it gives, not with them.
        earlier.append((found, still_lost))
        proofs, lost = found, still_lost
    for jump, reason in complaints.items():
        raise _refusal(program, jump, f"indirect branch that can't be followed: {reason}")
    raise _refusal(program, place, "indirect branches whose targets don't settle")


def _refusal(program: _Program, place: Place, found: str) -> Refusal:
    return Refusal(
        found,
        section=program.obj.sections[place[0]].name,
        offset=place[1],
        function=program.function_name(place),
        remedy=_REMEDY,
    )


def _check_label_arithmetic(
    program: _Program, slices: Slice, proofs: Mapping[Place, Proof]
) -> None:
    """Refuse a function that jumps to addresses from memory and makes some by adding to labels.

    What is added to a label is a distance in code, and nothing says where it comes from.
    """
    tables = {
        table.address: table
        for proof in proofs.values()
        for table in proof.tables
        if table.base is not None
    }
    for block in slices.graph.live_blocks():
        words = slices.words[block.section]
        for offset in range(block.start, block.end, 4):
            word = words[offset >> 2]
            if word >> 26 != 31 or word >> 1 & 0x1FF not in _ADD_SUBTRACT:
                continue
            place = (block.section, offset)
            try:
                sound = _keeps_labels(program, slices, place, word, tables)
            except Unresolved:
                sound = False
            if not sound:
                raise _refusal(program, place, "a distance of unknown origin is added to a label")


_ADD_SUBTRACT = (266, 40)


def _keeps_labels(
    program: _Program,
    slices: Slice,
    place: Place,
    word: int,
    tables: Mapping[Address, Table],
) -> bool:
    """Whether the add or subtract at ``place`` makes no code address that isn't understood."""
    slices.restart()
    first, second = (slices.values(word >> at & 31, place) for at in (16, 11))
    if word >> 1 & 0x1FF == 40:  # subf: second - first
        return not any(_is_label(program, v, tables) for v in second) or all(
            _is_label(program, v, tables) for v in first
        )
    for one, other in ((first, second), (second, first)):
        entries = {v.table for v in other if isinstance(v, Entry)}
        # A table's own address plus an entry of it, as compilers write switches.
        if any(v in entries and v not in tables for v in one):
            return False
        if any(_is_label(program, v, tables) for v in one) and not all(
            isinstance(v, Entry) and v.table in tables for v in other
        ):
            return False
    return True


def _is_label(program: _Program, value: indirect.Value, tables: Mapping[Address, Table]) -> bool:
    """Whether ``value`` is the address of code inside a function."""
    return (
        isinstance(value, Address)
        and program.is_code(value.section)
        and value not in tables
        and program.extent((value.section, value.offset))[0] != value.offset
    )


def _fragments(program: _Program, place: Place) -> list[tuple[int, int, int]]:
    """(section, start, end) of the function around ``place`` and of the parts that belong to it."""
    first = (place[0], *program.extent(place))
    extents = [first]
    pending = [first]
    while pending:
        section, start, end = extent = pending.pop()
        piece = _sweep(program, extent)
        places = [
            target
            for target, _ in piece.ends.values()
            if target is not None and not _is_entry(program, target, (section, start))
        ]
        places += [
            source
            for offset, source in program.incoming(section, start, end)
            if not program.is_call(source) and not _is_entry(program, (section, offset), source)
        ]
        for other in places:
            if not program.is_code(other[0]) or other[1] >= program.obj.sections[other[0]].size:
                continue
            new = (other[0], *program.extent(other))
            if new not in extents:
                extents.append(new)
                pending.append(new)
    return extents


_LOCAL_ENTRY = 8


def _is_entry(program: _Program, target: Place, source: Place) -> bool:
    """Whether a branch from ``source`` to ``target`` is a tail call of another function."""
    start, end = program.extent(target)
    if target[0] == source[0] and start <= source[1] < end:
        return False
    name = program.function_name(target)
    if name is None or ".cold" in name:
        return False
    return target[1] - start <= _LOCAL_ENTRY


def _sweep(program: _Program, extent: tuple[int, int, int]) -> Jumps:
    """The branches of a fragment.  Entries of tables don't look like branches."""
    piece = program.sweeps.get(extent)
    if piece is None:
        section, start, end = extent
        words = program.words(section)
        last = (section, 4 * len(words) - 4)
        if words and instruction.is_prefix(words[-1]) and not program.is_data(last):
            # Whoever looks at a prefix may look at the word behind it, too.
            found = "a prefixed instruction that is cut off by the end of its section"
            raise _refusal(program, last, found)
        fragment = Fragment(
            section,
            start,
            end,
            program.words(section),
            program.data.get(section, []),
            program.places(section),
            lambda offset: program.branch_target((section, offset)),
        )
        piece = program.sweeps[extent] = control_flow.find_jumps(fragment)
    return piece


def _graph(
    program: _Program,
    pieces: Sequence[Jumps],
    own_jumps: Sequence[Place],
    proofs: Mapping[Place, Proof],
    lost: Iterable[Place],
) -> control_flow.Graph:
    entries = []
    anywhere: list[Place] = [*lost]
    labels: list[Place] = []
    extents = [
        (piece.fragment.section, piece.fragment.start, piece.fragment.end) for piece in pieces
    ]
    for piece, (section, start, end) in zip(pieces, extents, strict=True):
        fragment = piece.fragment
        name = program.function_name((section, start))
        if name is None or ".cold" not in name:
            entries.append((section, start))
        entries += [
            (section, at)
            for at in program.symbols(section, start, end)
            if at > start and _may_be_code(program, (section, at), fragment)
        ]
        own = {*program.labels(section, start, end), *(at for _, at in piece.labels)}
        labels += [(section, at) for at in own if _may_be_code(program, (section, at), fragment)]
        special = program.special_labels(section, start, end)
        anywhere += [
            (section, at) for at in special if _may_be_code(program, (section, at), fragment)
        ]
    patched = {}
    pads: dict[Place, Sequence[Place]] = {}
    for section, start, end in extents:
        for offset, target in program.jump_labels_from(section, start, end):
            patched[section, offset] = target
        for offset, source in program.jump_labels_to(section, start, end):
            if not any(piece.fragment.holds(source) for piece in pieces):
                anywhere.append((section, offset))
        for offset, calls in program.landing_pads(section, start, end):
            if calls:
                pads[section, offset] = calls
            else:
                anywhere.append((section, offset))
    tables = {at: proof.targets for at, proof in proofs.items()}
    # A proved switch goes where its table says.  That r12 holds a tail call's target is a rule of
    # the ABI; that a computed goto's target isn't in r12 is no rule.
    wild = [at for at in own_jumps if at not in proofs or proofs[at].kind in _ANYWHERE]
    roots = Roots(frozenset(entries), frozenset(anywhere), frozenset(labels), wild, pads)
    return control_flow.Graph(pieces, roots, tables, patched)


def _may_be_code(program: _Program, place: Place, fragment: Fragment) -> bool:
    """False for labels of data: known data, or a word that is a small number."""
    offset = place[1]
    if offset & 3 or not fragment.start <= offset < fragment.end or program.is_data(place):
        return False
    index = bisect_right(fragment.data, (offset, 1 << 64)) - 1
    if index >= 0 and offset < fragment.data[index][1]:
        return False
    word = fragment.words[offset >> 2]
    return word in NO_OPERATIONS or control_flow.looks_like_code(word)


def _prove_jump(program: _Program, slices: Slice, place: Place) -> Proof:
    word = slices.words[place[0]][place[1] >> 2]
    slices.restart()
    if word >> 26 == 31:  # mtlr
        try:
            return _prove_target(program, slices, place, word >> 21 & 31)
        except Lost:
            raise
        except Unresolved:
            slices.restart()
            if not _is_only_kept(program, slices, place):
                raise
        reason = "the value is only kept in LR: no return and no way out of the function sees it"
        return Proof("spill", (), frozenset(), (reason,), False)
    if word >> 1 & 0x3FF != 528:
        raise Unresolved("it goes through TAR")
    return _prove_target(program, slices, place, CTR)


def _is_only_kept(program: _Program, slices: Slice, place: Place) -> bool:
    """Whether what the ``mtlr`` at ``place`` writes is gone before anything goes where LR says.

    Under register pressure GCC keeps a value of any kind in LR.
    """
    return not any(
        user == place or Definition(place, LR) in slices.definitions(LR, user)
        for user in slices.graph.uses_of_lr()
        if not slices.graph.is_dead(slices.graph.block_at(user)) and not program.restores_lr(user)
    )


def _prove_target(program: _Program, slices: Slice, place: Place, register: int) -> Proof:
    values = slices.values(register, place)
    if not values:
        raise Lost("nothing is seen to lead to it")
    tables: list[Table] = []
    targets: set[Place] = set()
    reasons: list[str] = []
    for value in sorted(values, key=repr):
        _prove_value(program, slices, value, tables, targets, reasons)
    kind = "return" if register != CTR and not targets else _kind(slices, place, tables)
    pointers = kind in _ANYWHERE and any(isinstance(v, (Pointer, Entry)) for v in values)
    return Proof(kind, tuple(tables), frozenset(targets), tuple(reasons), pointers)


def _kind(slices: Slice, place: Place, tables: Sequence[Table]) -> str:
    if any(t.base == t.address or t.address.section in slices.words for t in tables):
        return "switch"
    if slices.definitions(12, place) and slices.values(12, place) == slices.values(CTR, place):
        return "tail call"
    return "computed goto"


def _prove_value(
    program: _Program,
    slices: Slice,
    value: indirect.Value,
    tables: list[Table],
    targets: set[Place],
    reasons: list[str],
) -> None:
    if isinstance(value, Distance):
        section = program.obj.sections[value.entry.table.section].name
        table = switch_table.relative(
            value.entry,
            value.base,
            program.surroundings(value.entry.table),
            slices.graph,
            _targets(program, slices.graph),
            slices,
        )
        tables.append(table)
        targets.update(table.targets)
        kind = "distances" if table.base == table.address else "label differences"
        reasons.append(f"a table of {kind} at {section}+{table.address.offset:#x}: {table.reason}")
    elif isinstance(value, Entry) and value.size == 8 and not program.holds(value.table):
        reasons.append("a pointer from memory near a variable")
    elif isinstance(value, Entry) and value.size == 8:
        section = program.obj.sections[value.table.section].name
        found = switch_table.absolute(value, program.surroundings(value.table))
        if found is None:
            reasons.append(f"a pointer from {section}+{value.table.offset:#x}")
        else:
            tables.append(found)
            targets.update(found.targets)
            reasons.append(
                f"a table of addresses at {section}+{value.table.offset:#x}: {found.reason}"
            )
    elif isinstance(value, Address) and program.is_code(value.section):
        targets.add((value.section, value.offset))
        section = program.obj.sections[value.section].name
        reasons.append(f"the address {section}+{value.offset:#x}")
    elif isinstance(value, Number):
        reasons.append(f"the number {value.number:#x}, which is no address of this object")
    elif isinstance(value, External):
        reasons.append(f"the address of {value.name}")
    elif isinstance(value, Pointer):
        reasons.append(f"a pointer from {value.source} at {value.place[1]:#x}")
    else:
        raise Unresolved(_describe(program, value))


def _targets(program: _Program, graph: control_flow.Graph) -> Callable[[Place], bool]:
    """Tells whether a case may begin at a place: an instruction of the function, or its end.

    An empty case that is never reached (__builtin_unreachable) may lie behind the last instruction.
    """
    extents = {f.section: (f.start, f.end) for f in graph.fragments}
    several = len(extents) < len(graph.fragments)
    data = program.data

    def is_target(place: Place) -> bool:
        section, offset = place
        if offset & 3:
            return False
        start, end = extents.get(section, (0, 0))
        if graph.fragment_at(place) is None if several else not start <= offset < end:
            return program.is_end(place) and graph.fragment_at((section, offset - 4)) is not None
        return section not in data or not program.is_data(place) or program.is_end(place)

    return is_target


def _describe(program: _Program, value: indirect.Value) -> str:
    if isinstance(value, Entry):
        name = program.obj.sections[value.table.section].name
        return f"the target is {value.size} bytes from {name}+{value.table.offset:#x} as they are"
    if isinstance(value, indirect.Indexed):
        name = program.obj.sections[value.base.section].name
        return f"the target is {name}+{value.base.offset:#x} plus r{value.register}"
    if isinstance(value, indirect.Nothing):
        return f"the target is what r{value.register} held on entry"
    if isinstance(value, indirect.Opaque):
        return f"the target is computed at {value.place[1]:#x} in a way that isn't known"
    return f"the target is {value}"
