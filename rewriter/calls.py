"""Which calls need a slot.

The problem: the linker and the kernel's module loader send a call that leaves its module through a
stub that saves the TOC pointer, and they overwrite the instruction behind the ``bl`` with
``ld r2,24(r1)`` to get it back.  That instruction has to be a no-op, and the compiler leaves it out
where it knows that caller and callee share a TOC.

The rule: every ``bl`` gets one unless one is there, or unless nobody may put one there:

- callees that are not functions in the ABI's sense: the kernel's profiling entry, register savers,
  and ``__morestack``, which counts from its return address (it comes back to the word three words
  behind the ``bl``);
- calls that say they need no TOC;
- ``bl`` to a label of the calling function itself that reads LR first: that is no call, it only
  reads the program counter, and may read data behind it.  ``bl .+4`` is the shortest of these.

A no-op behind a call is its slot unless it is somebody else's: it lies behind the end of the
calling function (padding), a branch or an exception leads to it (it would load r2 without a call in
front), a symbol or a table names it (a static key's, a probe's), or it keeps the prefixed
instruction behind it off a boundary.  Where data of unknown meaning holds its address (see
`rewriter.references`), nobody can tell.

Source: 64-bit ELFv2 ABI, 2.2.4 (TOC restore), 3.5.1 (R_PPC64_REL24, R_PPC64_REL24_NOTOC), 2.3.3
(register save and restore functions); GCC's libgcc/config/rs6000/morestack.S; Linux
arch/powerpc/kernel/module_64.c for the profiling entries.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Literal, NamedTuple

from rewriter import elf, instruction
from rewriter.analysis import NO_REFERENCES
from rewriter.errors import Refusal
from rewriter.relocation import MARKERS, REL24, REL24_NOTOC, REL24_P9NOTOC

if TYPE_CHECKING:
    from array import array
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from rewriter.analysis import References

EXEMPT_NAMES = frozenset(
    ("_mcount", "ftrace_caller", "ftrace_regs_caller", "__morestack", "__morestack_non_split")
)
EXEMPT_PREFIXES = (
    "_savegpr0_",
    "_savegpr1_",
    "_restgpr0_",
    "_restgpr1_",
    "_savefpr_",
    "_restfpr_",
    "_savevr_",
    "_restvr_",
)

Action = Literal["insert", "has slot", "exempt", "no TOC", "not selected", "reads PC", "unclear"]
"""``unclear``: data holds the address of the word behind the call, and nothing says what for."""


class Functions(NamedTuple):
    """The functions of one section in ascending order: start and end offsets in bytes, names."""

    starts: Sequence[int]
    ends: Sequence[int]
    names: Sequence[str]

    def at(self, offset: int) -> str | None:
        """The name of the function that ``offset`` lies in, None outside of all."""
        index = bisect_right(self.starts, offset) - 1
        if index >= 0 and offset < self.ends[index]:
            return self.names[index]
        return None

    def start(self, offset: int) -> int | None:
        """The start of the function that ``offset`` lies in."""
        index = bisect_right(self.starts, offset) - 1
        return self.starts[index] if index >= 0 and offset < self.ends[index] else None

    def end(self, offset: int) -> int | None:
        """The end of the function that ``offset`` lies in."""
        index = bisect_right(self.starts, offset) - 1
        if index >= 0 and offset < self.ends[index]:
            return self.ends[index]
        return None


class CallSite(NamedTuple):
    """One ``bl``: section number and offset in bytes, who calls, who is called, what to do."""

    section: int
    place: int
    function: str | None
    callee: str
    action: Action


class Selection(NamedTuple):
    """The user's choice of callees: ``only`` these (None: all), never ``exempt``."""

    only: Collection[str] | None = None
    exempt: Collection[str] = ()

    def action(self, callee: str) -> Action:
        """What to do with a call to ``callee`` that has no slot."""
        if callee in EXEMPT_NAMES or callee.startswith(EXEMPT_PREFIXES) or callee in self.exempt:
            return "exempt"
        if self.only is not None and callee not in self.only:
            return "not selected"
        return "insert"


def functions_by_section(obj: elf.Object) -> dict[int, Functions]:
    """All STT_FUNC symbols, by section number; of several at one offset the longest is kept.

    Raises `Refusal` for a function that doesn't end inside its section.
    """
    symbols = obj.symbols
    found: dict[int, list[tuple[int, int, int]]] = {}
    for index, info in enumerate(symbols.infos):
        if info & 15 == elf.STT_FUNC and symbols.sections[index] > 0:
            value = symbols.values[index]
            entry = (value, -(value + symbols.sizes[index]), index)
            found.setdefault(symbols.sections[index], []).append(entry)
    result = {}
    for section, entries in found.items():
        entries.sort()
        for start, end, index in entries:
            if -end > obj.sections[section].size:
                raise Refusal(
                    "the function ends outside its section",
                    section=obj.sections[section].name,
                    offset=start,
                    function=symbols.name(index),
                    remedy="the object is damaged; build it again",
                )
        unique = [e for i, e in enumerate(entries) if not i or entries[i - 1][0] != e[0]]
        result[section] = Functions(
            [start for start, _, _ in unique],
            [-end for _, end, _ in unique],
            [symbols.name(index) for _, _, index in unique],
        )
    return result


NO_FUNCTIONS = Functions((), (), ())


def find(
    obj: elf.Object,
    section: int,
    words: Sequence[int],
    calls: Iterable[int],
    functions: dict[int, Functions],
    selection: Selection,
    references: References = NO_REFERENCES,
) -> Iterator[CallSite]:
    """Every ``bl`` of a section, in order, with what is to be done about it.

    ``words`` are the section's instruction words and ``calls`` the places of its ``bl`` (as
    `instruction.sweep` finds them).  ``references`` are who names places in the section, branches
    and landing pads included.
    """
    relocations = obj.relocations.get(section)
    types = _call_relocations(relocations)
    own = functions.get(section, NO_FUNCTIONS)
    for place in calls:
        index = types.get(place)
        reads_pc = no_toc = False
        if index is None:
            target = place + (instruction.branch_displacement(words[place >> 2]) or 0)
            callee = own.at(target) or f"{obj.sections[section].name}+{target:#x}"
            own_callee = True
            reads_pc = target not in references.entries and (
                target == place + 4 or _reads_lr(words, own, place, target)
            )
        else:
            assert relocations is not None
            callee = _callee(obj, relocations, index, functions)
            no_toc = relocations.types[index] != REL24
            own_callee = obj.symbols.sections[relocations.symbols[index]] > 0
        action: Action
        if reads_pc:
            action = "reads PC"
        elif no_toc:
            action = "no TOC"
        elif _has_slot(words, place, own.end(place), references) and not (
            own_callee and keeps_prefixed_aligned(words, place + 4)
        ):
            action = "has slot"
        else:
            action = selection.action(callee)
        if _is_unclear(action, words, place + 4, references):
            action = "unclear"
        yield CallSite(section, place, own.at(place), callee, action)


def _reads_lr(words: Sequence[int], own: Functions, place: int, target: int) -> bool:
    """Whether ``bl`` at ``place`` leads to a label of its own function that reads LR first."""
    if not 0 <= target < 4 * len(words) or words[target >> 2] & 0xFC1FFFFF != instruction.MFLR:
        return False
    start = own.start(place)
    return start is None or start == own.start(target)


def _is_unclear(action: Action, words: Sequence[int], behind: int, references: References) -> bool:
    """Whether it matters, and can't be told, what the word ``behind`` a call is to who names it.

    A table of return addresses names slots; where there is none it isn't what its name says.
    """
    if behind in references.returns:
        return action == "insert"
    if behind not in references.unclear:
        return False
    slot = action == "has slot" and words[behind >> 2] != instruction.LOAD_TOC
    return action == "insert" or slot


def _call_relocations(relocations: elf.Relocations | None) -> dict[int, int]:
    """Index of the relocation of each call, by place."""
    if relocations is None:
        return {}
    return {
        relocations.places[index]: index
        for index, kind in enumerate(relocations.types)
        if kind in (REL24, REL24_NOTOC, REL24_P9NOTOC)
    }


def _callee(
    obj: elf.Object,
    relocations: elf.Relocations,
    index: int,
    functions: dict[int, Functions],
) -> str:
    symbols = obj.symbols
    symbol = relocations.symbols[index]
    addend = relocations.addends[index]
    if symbols.type(symbol) == elf.STT_SECTION:
        section = symbols.sections[symbol]
        name = functions.get(section, NO_FUNCTIONS).at(addend)
        return name or f"{obj.sections[section].name}+{addend:#x}"
    name = symbols.name(symbol)
    return f"{name}+{addend:#x}" if addend else name


def _has_slot(
    words: Sequence[int], place: int, function_end: int | None, references: References
) -> bool:
    behind = place + 4
    if function_end is not None and behind >= function_end:
        return False
    index = behind >> 2
    if index >= len(words) or words[index] not in instruction.SLOTS:
        return False
    if words[index] == instruction.LOAD_TOC or behind in references.returns:
        return True
    return behind not in references.named


def keeps_prefixed_aligned(words: Sequence[int], offset: int) -> bool:
    """Whether the nop at ``offset`` keeps a prefixed instruction off a 64-byte boundary.

    Behind a call of the object's own function it is the assembler's, not a slot: labels that lie
    behind the call lie in front of it.  (Taking it for a slot would leave the same bytes.)
    """
    index = offset >> 2
    return (
        offset % 64 == 60
        and words[index] == instruction.NOP
        and index + 1 < len(words)
        and instruction.is_prefix(words[index + 1])
    )


def code_words(obj: elf.Object, section: int) -> array[int]:
    """The instruction words of a section; bytes behind the last whole word are left out."""
    data = obj.contents(section)
    return elf.column(data[: len(data) & ~3], "I")


def filled(obj: elf.Object, number: int) -> frozenset[int]:
    """The places in section ``number`` that a relocation fills: markers lie at others' words."""
    relocations = obj.relocations.get(number)
    if relocations is None:
        return frozenset()
    if MARKERS.isdisjoint(relocations.types):
        return frozenset(relocations.places)
    pairs = zip(relocations.places, relocations.types, strict=True)
    return frozenset(place for place, kind in pairs if kind not in MARKERS)
