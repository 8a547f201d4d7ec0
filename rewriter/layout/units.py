"""Which code stands or falls together, so that only what an insertion needs has to be proved.

The problem: an indirect branch that can't be followed is a reason to refuse only where it may lead
through something that moves.  With -ffunction-sections each function has a section of its own, and
a section into which nothing is inserted keeps its bytes, an interpreter's thousand branches among
them.  But what belongs to one function may lie in several sections, and a table in one may hold
distances in another.

The rule: sections belong to one *unit* where

- they hold parts of one function (name and name.cold);
- a branch or reference leads from one to a place of the other that isn't a function's entry, be it
  by way of data: a word of .toc, a table of labels;
- one table has entries in both;
- a PC-relative or base-relative addend in the code of one names the other.

A *table* is what lies in data from one offset that something names to the next; in sections whose
entries are known (`kernel_sections.TABLE`) it's one entry, and one relocation where their size
isn't fixed.  A unit that something is inserted into anywhere is proved, all of it; the others keep
their bytes, and what their indirect branches lead to doesn't matter.

Whether anything is inserted is decided with every word taken as code, data included, and that errs
on the side of proving too much.  What a proof could still take away is a no-op behind a call that
an indirect branch leads to: it would be no slot.  Behind a call of an undefined symbol the ABI
demands the slot, so it is one, and behind that of a symbol of default visibility, which the linker
may bind to another definition.  Behind any other call it may be somebody else's, and a unit with
such a no-op isn't left unproved.

A unit whose proof fails may be left as it is, too, where the user asks for it (`Units.together` of
`layout.needs`): its calls keep what they have, and who moves the code elsewhere without their slots
is told so by the linker or the kernel's loader.  Both take any no-op behind a call for its slot, so
the same holds here, of all its calls: a no-op that may be somebody else's would be overwritten
(`may_be_overwritten`).

Source: 64-bit ELFv2 ABI, 2.2.4 (TOC restore), 3.5 (relocation types); GCC, varasm.cc
(unlikely_text_section_name) and LLVM, MachineFunctionSplitter.cpp for name.cold.
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.object import elf
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.relocation import FROM_A_BASE, REL24

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nopfix.rewriter.layout.calls import CallSite, Selection
    from nopfix.rewriter.object.program import Place, Program

_PARTS = (".cold", ".__part.")
"""What compilers put behind a function's name for a part that they move elsewhere."""

_ELSEWHERE = (".eh_frame", ".gcc_except_table")
"""What these name are starts of functions, or places that their own modules understand."""


def has_doubtful_slot(
    program: Program, section: int, sites: Iterable[CallSite], selection: Selection
) -> bool:
    """Whether the no-op behind one of the calls ``sites`` of ``section`` may be somebody else's.

    That is where what is called is the object's own for certain; ``ld r2,24(r1)`` is always the
    slot.
    """
    words = program.words(section)
    for site in sites:
        if site.action != "has slot" or words[(site.place >> 2) + 1] == instruction.LOAD_TOC:
            continue
        if selection.action(site.callee) == "insert" and not _needs_slot(program, site):
            return True
    return False


def may_be_overwritten(program: Program, site: CallSite, selection: Selection) -> bool:
    """Whether a no-op that isn't known to be the slot of the call ``site`` stands behind it.

    Whoever sends the call elsewhere would take it for one.
    """
    if site.action in ("insert", "unclear"):
        words, behind = program.words(site.section), (site.place >> 2) + 1
        return behind < len(words) and words[behind] in instruction.SLOTS
    return has_doubtful_slot(program, site.section, (site,), selection)


def _needs_slot(program: Program, site: CallSite) -> bool:
    """Whether the callee may be another object's: undefined, or global and not hidden."""
    call = program.reference_at(site.section, site.place)
    if call is None:
        return False
    symbols, symbol = program.obj.symbols, call.symbol
    is_visible = symbols.infos[symbol] >> 4 != elf.STB_LOCAL and not symbols.others[symbol] & 3
    return call.type == REL24 and (not call.target or is_visible)


# -- finding them ----------------------------------------------------------------------------------


def find(program: Program) -> list[frozenset[int]]:
    """The units of an object: each a set of numbers of code sections."""
    code = frozenset(program.code)
    groups = _Groups()
    entries, names = _functions(program.obj, code)
    for own in names.values():
        groups.unite((section, 0) for section in own)
    sources = [
        number
        for number in program.filled
        if program.obj.sections[number].flags & elf.SHF_ALLOC
        and not program.name(number).startswith(_ELSEWHERE)
    ]
    tables = _Tables(program, _starts_of_data(program, sources))
    users: list[tuple[Place, Place]] = []
    for number in sources:
        is_code = number in code
        for reference in program.references_from(number):
            target, offset = reference.target, reference.offset
            if is_code and target == number:
                continue
            source = (number, 0) if is_code else tables.at(number, reference.place)
            if target not in code:
                users.append((source, tables.at(target, offset)))
            elif (target, offset) not in entries or (is_code and reference.type in FROM_A_BASE):
                groups.unite(((target, 0), source))
    _follow_data(groups, users, code)
    return groups.sets(code)


def _functions(
    obj: elf.Object, code: frozenset[int]
) -> tuple[frozenset[Place], Mapping[str, set[int]]]:
    """Where functions are entered, and the sections that hold parts of the functions of a name."""
    symbols = obj.symbols
    entries: set[Place] = set()
    whole: dict[str, set[int]] = {}
    parts: dict[str, set[int]] = {}
    for index, info in enumerate(symbols.infos):
        section = symbols.sections[index]
        if info & 15 not in elf.FUNCTIONS or section not in code:
            continue
        name = symbols.name(index)
        mark = next((mark for mark in _PARTS if mark in name), None)
        if mark is not None:
            parts.setdefault(name.partition(mark)[0], set()).add(section)
            continue
        whole.setdefault(name, set()).add(section)
        value = symbols.values[index]
        entries.update(((section, value), (section, value + symbols.local_entry(index))))
    return frozenset(entries), {name: own | whole.get(name, set()) for name, own in parts.items()}


def _starts_of_data(program: Program, sources: Iterable[int]) -> Mapping[int, Sequence[int]]:
    """The offsets in data that symbols and relocations name, ascending, by section."""
    code = frozenset(program.code)
    found = {
        section.number: set(program.symbols_in(section.number)[0])
        for section in program.obj.sections
        if section.number not in code
    }
    for number in sources:
        for reference in program.references_from(number):
            if reference.target not in code:
                found[reference.target].add(reference.offset)
    return {section: sorted(own) for section, own in found.items()}


class _Tables:
    """Where the tables in data begin."""

    def __init__(self, program: Program, starts: Mapping[int, Sequence[int]]) -> None:
        from nopfix.rewriter.object import kernel_sections

        self._starts = starts
        self._entry_sizes = {
            number: descriptor.entry_size
            for number in program.filled
            for descriptor in (kernel_sections.describe(program.name(number)),)
            if descriptor is not None
        }

    def at(self, section: int, offset: int) -> Place:
        """Section number and start of the table that ``offset`` lies in."""
        size = self._entry_sizes.get(section)
        if size is not None:
            return section, offset - offset % size if size else offset
        starts = self._starts.get(section, ())
        index = bisect_right(starts, offset) - 1
        return section, starts[index] if index >= 0 else 0


def _follow_data(
    groups: _Groups, users: Iterable[tuple[Place, Place]], code: frozenset[int]
) -> None:
    """Unite with each table that names places inside functions whoever refers to it.

    ``users`` are who refers to data, a code section or a table, and the table.
    """
    by_table: dict[Place, list[Place]] = {}
    for source, table in users:
        by_table.setdefault(table, []).append(source)
    pending = [member for member in groups.members() if member[0] not in code]
    seen = set(pending)
    while pending:
        table = pending.pop()
        sources = by_table.get(table, ())
        groups.unite((table, *sources))
        for source in sources:
            if source[0] not in code and source not in seen:
                seen.add(source)
                pending.append(source)


class _Groups:
    """Disjoint sets of places: a code section as a whole is its place 0."""

    def __init__(self) -> None:
        self._parent: dict[Place, Place] = {}

    def members(self) -> list[Place]:
        """Everything that was united with something."""
        return list(self._parent)

    def unite(self, places: Iterable[Place]) -> None:
        """Make one group of ``places`` and all that they were united with before."""
        roots = [self._root(place) for place in places]
        for root in roots[1:]:
            self._parent[root] = roots[0]

    def _root(self, place: Place) -> Place:
        parent = self._parent.setdefault(place, place)
        while parent != place:
            grandparent = self._parent[parent]
            self._parent[place] = grandparent
            place, parent = parent, grandparent
        return place

    def sets(self, code: frozenset[int]) -> list[frozenset[int]]:
        """The groups, of the code sections ``code`` only; each of these is in one."""
        found: dict[Place, set[int]] = {}
        for section in sorted(code):
            found.setdefault(self._root((section, 0)), set()).add(section)
        return [frozenset(own) for own in found.values()]
