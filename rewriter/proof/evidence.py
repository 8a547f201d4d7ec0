"""What proofs of indirect branches go by: who refers to what, as far as they ask.

The problem: a proof follows values through one function, and at its edges it needs to know the
object: what a relocated instruction works with, which labels a program may take the address of,
who branches into the function, what a table lies between.  The rule: each such question is a
method here, answered from `object.program` out of an index that is made once.

Source: Linux, include/linux/jump_label.h (struct jump_entry),
arch/powerpc/include/asm/extable.h (struct exception_table_entry); 64-bit ELFv2 ABI, 2.3.3, 3.5.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.object import elf
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.relocation import ADDR64, REL32, RELATIVE_BRANCHES, TYPES
from nopfix.rewriter.power.semantics import is_call
from nopfix.rewriter.proof import indirect
from nopfix.rewriter.proof.indirect import Address, External, Unresolved
from nopfix.rewriter.proof.switch_table import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeVar

    from nopfix.rewriter.object.program import Place, Program, Reference
    from nopfix.rewriter.power.instruction import Branch
    from nopfix.rewriter.proof.analysis import Region
    from nopfix.rewriter.proof.control_flow import Jumps
    from nopfix.rewriter.proof.switch_table import Table

    _T = TypeVar("_T")

_RESTORE_LR = ("_restgpr0_", "_restfpr_")
"""How routines that load LR from the stack and return are called; the _restgpr1_ ones leave LR."""

_NEVER_RETURN = frozenset(
    ("__stack_chk_fail", "__stack_chk_fail_local", "_Unwind_Resume")
    + ("__cxa_throw", "__cxa_rethrow", "__cxa_bad_cast", "__cxa_bad_typeid")
    + ("__cxa_throw_bad_array_new_length",)
)
"""What compilers call by themselves and put code behind that isn't run on from there.

So are UBSan's handlers of -fno-sanitize-recover, ``__ubsan_handle_*_abort``, and what ASan reports
with, ``__asan_report_*``, but for its ``*_noabort``.

Source: GCC, gcc/sanitizer.def, gcc/cp/except.cc; Itanium C++ ABI, 2.4 and 2.9.
"""
_MARKS_OF_THEM = (
    b"__stack_chk_fail",
    b"__ubsan_handle_",
    b"__asan_report_",
    b"_Unwind_Resume",
    b"__cxa_",
)

LOCAL_ENTRY = 8
"""How far behind its start a function's local entry may lie (64-bit ELFv2 ABI, 2.3.2.1)."""

_KEEP_R0 = frozenset(("__xray_FunctionEntry", "__xray_FunctionExit"))
"""What XRay's sleds call with the return address in r0, and find it there afterwards.

Source: LLVM, compiler-rt/lib/xray/xray_trampoline_powerpc64_asm.S.
"""

_PAIRS = {"__jump_table": 16, "__ex_table": 8}
"""Sections whose entries begin with two PC-relative words, code and where it may lead; their sizes.

From code that is a static key's, a no-op or a branch as the kernel runs; from an instruction that
faults to what mends it.
"""

_SLEDS, _SLED_SIZE = "xray_instr_map", 32
"""XRay's section and the size of its entries.  A sled is written over to run on into its rest."""

# Sections whose relocations into code aren't places that anything jumps to.  Of the fix-ups those
# that put a single instruction into the place of another, which goes on behind it as that did.
_NO_LABELS = frozenset(
    (".eh_frame", "__bug_table", "__mcount_loc", "__patchable_function_entries", ".stack_sizes")
    + ("__barrier_nospec_fixup", "__lwsync_fixup", _SLEDS)
)


class Objects(Record):
    """Where symbols of a data section begin, ascending; the sizes in bytes of those that are data.

    ``furthest`` is, for each start, the largest end of this one and all before it.
    """

    starts: Sequence[int]
    sizes: Mapping[int, int]
    furthest: Sequence[int]

    def around(self, offset: int) -> tuple[int, int] | None:
        """Start and end of the data symbol that ``offset`` lies in, if it's the only one there."""
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        start = self.starts[index]
        end = start + self.sizes[start]
        return (start, end) if offset < end == self.furthest[index] else None


class Evidence:
    """What proofs look up in an object; every index is made when it is first needed."""

    def __init__(self, program: Program, regions: Mapping[int, Sequence[Region]]) -> None:
        """``regions`` are the data in code that is known so far, by section."""
        self.program = program
        self.obj = program.obj
        self.has_tables = any(
            program.name(number).startswith(".rodata") and REL32 in program.types_in(number)
            for number in program.filled
        )
        self.data = {
            number: [(region.start, region.end) for region in own]
            for number, own in regions.items()
        }
        self.facts = indirect.Facts(
            self.relocated,
            self.stored_address,
            program.is_code,
            self._sparing_calls(),
            self.calls_no_function,
            self.array,
        )
        self.sweeps: dict[tuple[int, int, int], Jumps] = {}
        self.addresses: dict[tuple[Address, bool], Table | None] = {}
        self._stored: dict[int, dict[int, dict[int, Place | None]]] = {}
        self._references: dict[int, list[int]] | None = None
        self._final: frozenset[int] | None = None
        self._final_calls: dict[int, frozenset[int]] = {}
        self._symbols: dict[int, tuple[list[int], list[int]]] = {}
        self._objects: dict[int, Objects] = {}
        self._addresses: dict[int, list[int]] = {}
        self._labels: dict[int, list[int]] = {}
        self._special: dict[int, list[int]] = {}
        # By the section that they lead from, or to, in ascending order of the offset there.
        self._jump_labels_from: dict[int, list[tuple[int, Place]]] = {}
        self._jump_labels_to: dict[int, list[tuple[int, Place]]] = {}
        self._exceptions_to: dict[int, list[tuple[int, Place]]] = {}
        self._incoming: dict[int, list[tuple[int, Place]]] = {}
        self._crossing: dict[int, tuple[list[tuple[int, Place]], list[int]]] = {}
        self._landing_pads: dict[int, list[tuple[int, Sequence[Place]]]] | None = None

    def holds(self, address: Address) -> bool:
        """Whether ``address`` lies inside of its section, or the section is code."""
        section, offset = address
        return self.program.is_code(section) or 0 <= offset < self.obj.sections[section].size

    def is_data(self, place: Place) -> bool:
        """Whether data that is known lies at ``place``."""
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
        own = self.program.functions.get(section)
        if own is None:
            return offset == self.obj.sections[section].size
        index = bisect_left(own.starts, offset) - 1
        return index >= 0 and own.ends[index] == offset

    def is_call(self, place: Place) -> bool:
        """Whether the branch at ``place`` comes back (LK); True where no whole word lies there."""
        words = self.program.words(place[0])
        index = place[1] >> 2
        return index >= len(words) or bool(words[index] & 1)

    def function_name(self, place: Place) -> str | None:
        """The name of the last function that begins at ``place`` or before."""
        own = self.program.functions.get(place[0])
        if own is None:
            return None
        index = bisect_right(own.starts, place[1]) - 1
        return own.names[index] if index >= 0 else None

    def extent(self, place: Place) -> tuple[int, int]:
        """Start and end of the function around ``place``; it ends where the next one begins."""
        own = self.program.functions.get(place[0])
        size = len(self.program.words(place[0])) * 4
        if own is None:
            return 0, size
        index = bisect_right(own.starts, place[1]) - 1
        start = own.starts[index] if index >= 0 else 0
        return start, own.starts[index + 1] if index + 1 < len(own.starts) else size

    # -- relocations ---------------------------------------------------------------------------

    def _target(self, reference: Reference) -> Address | External:
        """What symbol + addend of a relocation are."""
        if reference.target > 0:
            return Address(reference.target, reference.offset)
        return External(self.obj.symbols.name(reference.symbol))

    def relocated(self, place: Place) -> tuple[str, Address | External] | None:
        """`indirect.Facts.relocated`."""
        found = self.program.reference_at(*place)
        if found is None:
            return None
        return TYPES[found.type].worth if found.type in TYPES else "-", self._target(found)

    def branch_target(self, place: Place) -> Place | None:
        """Where the branch at ``place``, which a relocation fills, leads in this object."""
        found = self.program.reference_at(*place)
        if found is None or found.type not in RELATIVE_BRANCHES or found.target <= 0:
            return None
        return found.target, found.offset

    def calls_no_function(self, place: Place) -> bool:
        """Whether what the call at ``place`` leads to is code of this object, and no function's.

        Its convention is its own: it may change what a function has to keep.
        """
        section, offset = place
        if self.program.reference_at(section, offset) is not None:
            target = self.branch_target(place)
        else:
            word = self.program.words(section)[offset >> 2]
            distance = instruction.branch_displacement(word)
            target = None if distance in (None, 4) else (section, offset + distance)
        if target is None or not self.program.is_code(target[0]):
            return False
        own = self.program.functions.get(target[0])
        index = -1 if own is None else bisect_right(own.starts, target[1]) - 1
        return own is None or index < 0 or target[1] - own.starts[index] > LOCAL_ENTRY

    def restores_lr(self, place: Place) -> bool:
        """Whether ``place`` branches to a routine that loads LR from the stack and returns.

        Source: ELFv2 ABI, 2.3.3 (register save and restore functions).
        """
        found = self.program.reference_at(*place)
        if found is None or found.type not in RELATIVE_BRANCHES:
            return False
        return self.obj.symbols.name(found.symbol).startswith(_RESTORE_LR)

    def _sparing_calls(self) -> frozenset[Place]:
        """The places of calls that keep r0."""
        symbols = self.obj.symbols
        if b"__xray_Function" not in symbols.strings:
            return frozenset()
        known = {i for i in range(len(symbols.names)) if symbols.name(i) in _KEEP_R0}
        return frozenset(
            (section, place)
            for section in self.program.code
            for place in self.program.naming(section, known)
        )

    def final_calls(self, section: int) -> frozenset[int]:
        """The offsets of calls in ``section`` of functions that never return."""
        if self._final is None:
            symbols = self.obj.symbols
            indices = range(len(symbols.names))
            is_known = any(mark in symbols.strings for mark in _MARKS_OF_THEM)
            self._final = frozenset(
                index
                for index in (indices if is_known else ())
                if _never_returns(symbols.name(index))
            )
        if not self._final:
            return frozenset()
        if section not in self._final_calls:
            self._final_calls[section] = frozenset(self.program.naming(section, self._final))
        return self._final_calls[section]

    def stored(self, section: int, kind: int) -> dict[int, Place | None]:
        """Where the relocations of type ``kind`` in ``section`` point, by place."""
        by_kind = self._stored.setdefault(section, {})
        if kind not in by_kind:
            by_kind[kind] = {
                one.place: (one.target, one.offset) if one.target > 0 else None
                for one in self.program.of_types(section, (kind,))
            }
        return by_kind[kind]

    def stored_address(self, address: Address) -> Address | External | None:
        """`indirect.Facts.stored_address`: only from data that a program doesn't change."""
        if not self.is_constant(address.section):
            return None
        found = self.program.reference_at(address.section, address.offset)
        return None if found is None or found.type != ADDR64 else self._target(found)

    def is_constant(self, section: int) -> bool:
        """Whether a program can't change what section ``section`` holds."""
        header = self.obj.sections[section]
        return not header.flags & 1 or header.name.startswith(_CONSTANT)

    # -- who refers to what --------------------------------------------------------------------

    def _survey(self) -> dict[int, list[int]]:
        """One pass over the relocations of all sections that are loaded."""
        if self._references is not None:
            return self._references
        references: dict[int, set[int]] = {}
        addresses: dict[int, set[int]] = {}
        labels: dict[int, set[int]] = {}
        special: dict[int, set[int]] = {}
        for section in self.program.filled:
            header = self.obj.sections[section]
            if not header.flags & elf.SHF_ALLOC or header.name == ".eh_frame":
                continue
            pairs = self._read_pairs(section, header.name)
            for code, label in pairs or self._sleds(section, header.name):
                if header.name == "__ex_table":
                    self._exceptions_to.setdefault(label[0], []).append((label[1], code))
                else:
                    self._jump_labels_from.setdefault(code[0], []).append((code[1], label))
                    self._jump_labels_to.setdefault(label[0], []).append((label[1], code))
            is_code = self.program.is_code(section)
            tables = not is_code and header.name.startswith(".rodata")
            for _, place, kind, _, target, offset in self.program.references_from(section):
                if kind in RELATIVE_BRANCHES and is_code:
                    self._incoming.setdefault(target, []).append((offset, (section, place)))
                    continue
                references.setdefault(target, set()).add(offset)
                # The addend of a REL32 in a table counts from the table's start.
                if kind != REL32:
                    addresses.setdefault(target, set()).add(offset)
                # A REL32 in read-only data is a table's entry; its addend isn't a target.
                if header.name in _NO_LABELS or (tables and kind == REL32) or pairs:
                    continue
                if header.name.startswith("__"):
                    special.setdefault(target, set()).add(offset)
                else:
                    labels.setdefault(target, set()).add(offset)
        self._addresses = {section: sorted(own) for section, own in addresses.items()}
        self._labels = {section: sorted(own) for section, own in labels.items()}
        self._special = {section: sorted(own) for section, own in special.items()}
        self._references = {section: sorted(own) for section, own in references.items()}
        for by_section in (
            self._jump_labels_from,
            self._jump_labels_to,
            self._exceptions_to,
            self._incoming,
        ):
            for own in by_section.values():
                own.sort()
        return self._references

    def labels(self, section: int, start: int, end: int) -> Sequence[int]:
        """The offsets from start to end that a program may take the address of."""
        self._survey()
        return within(self._labels.get(section, ()), start, end)

    def special_labels(self, section: int, start: int, end: int) -> Sequence[int]:
        """The offsets from start to end that a special section (__ex_table, ...) refers to."""
        self._survey()
        return within(self._special.get(section, ()), start, end)

    def jump_labels_from(self, section: int, start: int, end: int) -> list[tuple[int, Place]]:
        """Instructions from start to end that are patched while the program runs.

        The kernel turns them into a no-op or a branch, XRay into what runs on.  Each offset comes
        with where that leads.
        """
        self._survey()
        return _pairs_within(self._jump_labels_from.get(section, ()), start, end)

    def jump_labels_to(self, section: int, start: int, end: int) -> list[tuple[int, Place]]:
        """The offsets from start to end that jump labels lead to, each with the jump label."""
        self._survey()
        return _pairs_within(self._jump_labels_to.get(section, ()), start, end)

    def exceptions_to(self, section: int, start: int, end: int) -> list[tuple[int, Place]]:
        """The offsets from start to end where the kernel goes on after an instruction faulted.

        Each comes with the instruction; it has changed nothing.
        """
        self._survey()
        return _pairs_within(self._exceptions_to.get(section, ()), start, end)

    def _read_pairs(self, section: int, name: str) -> list[tuple[Place, Place]] | None:
        """The entries of one of `_PAIRS`; None where they aren't as the kernel writes them."""
        size = _PAIRS.get(name)
        if size is None:
            return None
        places = self.stored(section, REL32)
        found = []
        for place, code in places.items():
            if place % size:
                continue
            target = places.get(place + 4)
            if code is None or target is None or (code[1] | target[1]) & 3:
                return None
            found.append((code, target))
        return found if 2 * len(found) == len(places) else None

    def _sleds(self, section: int, name: str) -> list[tuple[Place, Place]]:
        """The sleds that XRay's section names, each with the place behind its first word."""
        references = self.program.references_to_code_from(section) if name == _SLEDS else ()
        return [
            ((sled.target, sled.offset), (sled.target, sled.offset + 4))
            for sled in references
            if sled.place % _SLED_SIZE == 0
        ]

    def incoming(self, section: int, start: int, end: int) -> list[tuple[int, Place]]:
        """Branches from elsewhere to the offsets from start to end: (offset, who branches)."""
        self._survey()
        return [
            (offset, source)
            for index in (self._incoming.get(section, ()), self._near(section)[0])
            for offset, source in _pairs_within(index, start, end)
            if not (source[0] == section and start <= source[1] < end)
        ]

    def addressed(self, section: int, start: int, end: int) -> Sequence[int]:
        """The offsets from start to end whose address another function of ``section`` makes.

        By a PC-relative instruction that isn't relocated.
        """
        return within(self._near(section)[1], start, end)

    def _near(self, section: int) -> tuple[list[tuple[int, Place]], list[int]]:
        """What leads from one function of ``section`` into another and isn't relocated.

        Branches, and the offsets that PC-relative instructions address, in ascending order of the
        offset that they lead to.
        """
        known = self._crossing.get(section)
        if known is None:
            found = instruction.sweep(
                self.program.words(section),
                self.data.get(section, ()),
                self.program.filling(section),
            )
            branches = [
                (target, (section, place))
                for place, target in self._leaving(section, found.branches)
            ]
            addressed = {target for _, target in self._leaving(section, found.relative)}
            known = self._crossing[section] = sorted(branches), sorted(addressed)
        return known

    def _leaving(self, section: int, branches: Iterable[Branch]) -> Iterator[Branch]:
        """Those of ``branches``, in ascending order, that lead out of their function."""
        start = end = 0
        for branch in branches:
            if not start <= branch.place < end:
                start, end = self.extent((section, branch.place))
            if not start <= branch.target < end:
                yield branch

    def landing_pads(self, section: int, start: int, end: int) -> list[tuple[int, Sequence[Place]]]:
        """The landing pads from start to end, each with the calls that lead to it.

        None where an instruction that traps may do so too (-fnon-call-exceptions).
        """
        if self._landing_pads is None:
            pads: dict[Place, list[Place]] = {}
            trapping = set()
            for site in self.program.landing_pads():
                words = self.program.words(site.section)
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
        return _pairs_within(self._landing_pads.get(section, ()), start, end)

    def symbols(self, section: int, start: int, end: int) -> Sequence[int]:
        """Where symbols that aren't functions name code from start to end."""
        return within(self._named(section)[0], start, end)

    def exported(self, section: int, start: int, end: int) -> Sequence[int]:
        """Those of `symbols` that other objects see."""
        return within(self._named(section)[1], start, end)

    def _named(self, section: int) -> tuple[list[int], list[int]]:
        named = self._symbols.get(section)
        if named is None:
            named = self._symbols[section] = [], []
            infos = self.obj.symbols.infos
            for value, index in zip(*self.program.symbols_in(section), strict=True):
                if infos[index] & 15 == elf.STT_NOTYPE:
                    named[0].append(value)
                    if infos[index] >> 4 != elf.STB_LOCAL:
                        named[1].append(value)
        return named

    def objects(self, section: int) -> Objects:
        """The data that symbols of ``section`` name."""
        found = self._objects.get(section)
        if found is None:
            symbols = self.obj.symbols
            known: dict[int, int] = {}
            for start, index in zip(*self.program.symbols_in(section), strict=True):
                is_object = symbols.type(index) == elf.STT_OBJECT
                known[start] = max(known.get(start, 0), symbols.sizes[index] * is_object)
            ends = accumulate((start + size for start, size in known.items()), max)
            found = self._objects[section] = Objects(list(known), known, list(ends))
        return found

    def array(self, address: Address) -> tuple[int, int] | None:
        """`indirect.Facts.array`."""
        section, offset = address
        if self.program.is_code(section) or not self.is_constant(section):
            return None
        return self.objects(section).around(offset)

    def surroundings(self, address: Address) -> Surroundings:
        """What `switch_table` asks about the section around a table."""
        section, start = address
        header = self.obj.sections[section]
        if not 0 <= start < header.size:
            raise Unresolved("its table lies outside of the section")
        is_code = self.program.is_code(section)
        limit = header.size
        extent = 0
        begins_inside = False
        symbol = None
        is_named = False
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
            symbol = objects.around(start)
            is_named = begins_inside or symbol is not None or start in objects.sizes
        return Surroundings(
            self.obj.contents(section),
            self.stored(section, REL32),
            self.stored(section, ADDR64),
            limit,
            extent,
            begins_inside,
            symbol,
            is_named,
            is_code,
            not self.is_constant(section),
        )


def _never_returns(name: str) -> bool:
    """Whether a function of this name is one of those that `_NEVER_RETURN` is about."""
    if name.startswith("__asan_report_"):
        return not name.endswith("_noabort")
    is_handler = name.startswith("__ubsan_handle_") and name.endswith("_abort")
    return is_handler or name in _NEVER_RETURN


def within(offsets: Sequence[int], start: int, end: int) -> Sequence[int]:
    """Those of the ascending ``offsets`` from ``start`` to ``end``."""
    return offsets[bisect_left(offsets, start) : bisect_left(offsets, end)]


def _pairs_within(pairs: Sequence[tuple[int, _T]], start: int, end: int) -> list[tuple[int, _T]]:
    """Those of ``pairs``, which ascend, whose first number is one from ``start`` to ``end``."""
    return list(pairs[bisect_left(pairs, (start,)) : bisect_left(pairs, (end,))])


def _next(offsets: Sequence[int], offset: int, otherwise: int) -> int:
    """The first of the ascending ``offsets`` that is larger than ``offset``."""
    index = bisect_right(offsets, offset)
    return offsets[index] if index < len(offsets) else otherwise


_CONSTANT = (".toc", ".got", ".data.rel.ro", ".init_array", ".fini_array")
"""Sections that are writable only for the dynamic linker."""
