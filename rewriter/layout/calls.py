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
- ``bl`` to a label of the calling function itself, or of none, that reads LR first: that is no
  call, it only reads the program counter, and may read data behind it.  ``bl .+4`` is the shortest
  of these.  Where LR is only kept, to go back by, the label is a subroutine's as any other.

A no-op behind a call is its slot unless it is somebody else's: it lies behind the end of the
calling function (padding), a branch or an exception leads to it (it would load r2 without a call in
front), a symbol or a table names it (a static key's, a probe's), or it keeps the prefixed
instruction behind it off a boundary.  Where data of unknown meaning holds its address (see
`object.claims`), nobody can tell.

Source: 64-bit ELFv2 ABI, 2.2.4 (TOC restore), 3.5.1 (R_PPC64_REL24, R_PPC64_REL24_NOTOC), 2.3.3
(register save and restore functions); GCC's libgcc/config/rs6000/morestack.S; Linux
arch/powerpc/kernel/module_64.c for the profiling entries.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record, make
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.claims import NO_CLAIMS
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.relocation import REL24, REL24_NOTOC, REL24_P9NOTOC

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from nopfix.rewriter.object.claims import Claims, Reason
    from nopfix.rewriter.object.program import Functions, Program, Reference

_CALLS = frozenset((REL24, REL24_NOTOC, REL24_P9NOTOC))

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

Action = Literal[
    "insert", "has slot", "exempt", "no TOC", "not selected", "reads PC", "unclear", "left"
]
"""``unclear``: data holds the address of the word behind the call, and nothing says what for.
``left``: it lacks a slot, and its section keeps its bytes because a proof failed (`layout.plan`).
"""


class CallSite(Record):
    """One ``bl``: section number and offset in bytes, who calls, who is called, what to do.

    ``claimed`` tells who names the no-op behind it, which for that isn't its slot.
    """

    section: int
    place: int
    function: str | None
    callee: str
    action: Action
    claimed: Reason | None = None


class Selection(Record):
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


def find(
    program: Program,
    section: int,
    places: Iterable[int],
    selection: Selection,
    claims: Claims = NO_CLAIMS,
) -> Iterator[CallSite]:
    """Every ``bl`` of a section, in order, with what is to be done about it.

    ``places`` are those of its ``bl`` (see `instruction.sweep`).  ``claims`` say who names
    places in the section, branches and landing pads included.
    """
    words, own = program.words(section), program.functions_in(section)
    for place in places:
        call = program.reference_at(section, place)
        reads_pc = no_toc = False
        if call is None or call.type not in _CALLS:
            target = place + (instruction.branch_displacement(words[place >> 2]) or 0)
            callee = own.at(target) or f"{program.name(section)}+{target:#x}"
            own_callee = True
            reads_pc = target not in claims.entries and (
                target == place + 4 or _reads_lr(words, own, place, target)
            )
        else:
            callee = _callee(program, call)
            no_toc = call.type != REL24
            own_callee = call.target > 0
        action: Action
        if reads_pc:
            action = "reads PC"
        elif no_toc:
            action = "no TOC"
        elif _has_slot(words, place, program.body_end(section, place), claims) and not (
            own_callee and keeps_prefixed_aligned(words, place + 4)
        ):
            action = "has slot"
        else:
            action = selection.action(callee)
        if _is_unclear(action, words, place + 4, claims):
            action = "unclear"
        claimed = _claimed(words, place + 4, claims) if action == "insert" else None
        yield make(CallSite, (section, place, own.at(place), callee, action, claimed))


def _reads_lr(words: Sequence[int], own: Functions, place: int, target: int) -> bool:
    """Whether ``bl`` at ``place`` leads to a label of its own function, or of none, that reads LR
    first and not only to keep it.
    """
    if not 0 <= target < 4 * len(words) or words[target >> 2] & _NO_REGISTER != instruction.MFLR:
        return False
    start = own.start(place)
    is_own = start is None or own.start(target) in (None, start)
    return is_own and not keeps_lr(words, target >> 2)


def keeps_lr(words: Sequence[int], index: int) -> bool:
    """Whether what the ``mflr`` at ``index`` reads goes back to LR or where the ABI keeps it, and
    nowhere else before, straight on.
    """
    register = words[index] >> 21 & 31
    for word in words[index + 1 : index + _STRAIGHT_ON]:
        if word in (instruction.MTLR | register << 21, _KEEP_LR | register << 21):
            return True
        if word == instruction.READ_PC:
            continue
        if word >> 26 in instruction.BRANCHING or register in _registers(word):
            return False
    return False


def _registers(word: int) -> Sequence[int]:
    """The general registers that ``word`` may name."""
    opcode, first, second = word >> 26, word >> 21 & 31, word >> 16 & 31
    if word & _NO_REGISTER == instruction.MFLR:
        return (first,)
    if opcode not in _D_FORM:
        return first, second, word >> 11 & 31
    return (first, second) if second or opcode in _LOGICAL else (first,)


_NO_REGISTER = 0xFC1FFFFF
_STRAIGHT_ON = 16
"""Words in which a subroutine has put LR where it keeps it."""
_KEEP_LR = 0xF8010010
"""``std r0,16(r1)``, less its register: the LR save doubleword (ELFv2 ABI, 2.2.2.1)."""
_LOGICAL = range(24, 30)
_D_FORM = frozenset((7, 8, *range(10, 16), *_LOGICAL, *range(32, 56), 58, 62))
"""Primary opcodes whose third operand is a number; the logical ones have no 0 for a register."""


def _is_unclear(action: Action, words: Sequence[int], behind: int, claims: Claims) -> bool:
    """Whether it matters, and can't be told, what the word ``behind`` a call is to who names it.

    A table of return addresses names slots; where there is none it isn't what its name says.
    """
    if behind in claims.returns:
        return action == "insert"
    if behind not in claims.unclear:
        return False
    slot = action == "has slot" and words[behind >> 2] != instruction.LOAD_TOC
    return action == "insert" or slot


def _callee(program: Program, call: Reference) -> str:
    symbols = program.obj.symbols
    addend = call.offset - symbols.values[call.symbol]
    if symbols.type(call.symbol) == elf.STT_SECTION:
        section = call.target
        return program.functions_in(section).at(addend) or f"{program.name(section)}+{addend:#x}"
    name = symbols.name(call.symbol)
    return f"{name}+{addend:#x}" if addend else name


def _has_slot(words: Sequence[int], place: int, function_end: int | None, claims: Claims) -> bool:
    behind = place + 4
    if function_end is not None and behind >= function_end:
        return False
    index = behind >> 2
    if index >= len(words) or words[index] not in instruction.SLOTS:
        return False
    if words[index] == instruction.LOAD_TOC or behind in claims.returns:
        return True
    return behind not in claims.named


def _claimed(words: Sequence[int], behind: int, claims: Claims) -> Reason | None:
    """Who names the no-op behind a call, None where no no-op is there or nobody does."""
    if behind >> 2 < len(words) and words[behind >> 2] in instruction.SLOTS:
        return claims.named.get(behind)
    return None


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
