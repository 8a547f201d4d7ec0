"""The control flow of one function: its blocks, and for each the blocks it may be reached from.

The problem: a jump's target is computed from registers, so what they hold has to be followed
backwards along every path that may lead to the jump.  A path overlooked makes a wrong proof.

The rule: a block begins at a function's start, at a branch target, behind a branch, and at every
label whose address the object holds elsewhere.  Such a label is entered from an indirect branch of
the function that may go anywhere, or from a call (nonlocal gotos, __builtin_longjmp); one that only
a special section names (fixups, labels of inline assembly) from any instruction.  A block
falls through at its end unless the last instruction never does; a call does, even to a function
that doesn't return, but for the compiler's own (`Fragment.final`).  Blocks that nothing leads to
(the words of a table, for one) lead nowhere.  A branch over nothing but no-ops, with which long
padding begins, is a no-op too: it doesn't lead to what is behind when nothing leads to it.
The kernel's jump labels are instructions that it turns into a branch or a no-op as it runs,
whichever they are in the object: they branch and fall through.
A landing pad is entered from the calls that its call sites name, with the registers as they were in
front of them, and what mends an instruction that faults (__ex_table) from that one.  A branch that
sets LR and stays inside the function (``bcl`` to what follows an inlined setjmp) is an edge, and
comes back as well.
Jumps through a table are edges too; since tables are found with the help of the graph, it is built
again with the tables found so far until nothing new turns up.  Until then a loop that only a table
leads to leads to itself; where that keeps a proof from being found, `Graph.find_live` tells.

A function has several fragments where the compiler moved unlikely blocks to a section of their own
(name.cold); branches between them are relocated.

Source: Power ISA 3.1, Book I, 2.4 (branch instructions).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.instruction import (
    BRANCH_CONDITIONAL,
    BRANCH_REGISTER,
    NO_OPERATIONS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from nopfix.rewriter.object.program import Place

_THROUGH_REGISTER = frozenset((instruction.BCLR, instruction.BCCTR, instruction.BCTAR))
_BCLRL = BRANCH_REGISTER, instruction.BCLR
"""The primary and extended opcodes of ``bclr``; with the link bit it's a call."""

_BRANCHING = frozenset(
    (instruction.PREFIX, BRANCH_CONDITIONAL, instruction.BRANCH, BRANCH_REGISTER)
)
# The words that matter here, by their top byte.
_INTERESTING = bytes(1 if top >> 2 in _BRANCHING else 0 for top in range(256))


class Fragment(Record):
    """Contiguous code of one function: section number, offsets in bytes, the section's words.

    ``data`` are the (start, end) of bytes known not to be instructions; ``relocated`` holds the
    offsets of instructions with a relocation, and ``branch_target`` tells where a relocated branch
    leads, None where that isn't in this object's code.  ``final`` are the offsets of calls of
    functions that never return.
    """

    section: int
    start: int
    end: int
    words: Sequence[int]
    data: Sequence[tuple[int, int]]
    relocated: Container[int]
    branch_target: Callable[[int], Place | None]
    final: Container[int] = ()

    def holds(self, place: Place) -> bool:
        """Whether ``place`` is in this fragment."""
        return self.section == place[0] and self.start <= place[1] < self.end


class Block(Record):
    """Instructions that are run from first to last: section number, offsets in bytes."""

    section: int
    start: int
    end: int


class Jumps(Record):
    """What a fragment's code does: found once, used by every `build`.

    ``ends`` maps the place of an instruction that ends a block to (target or None, falls through);
    ``calls`` are the places of branches that set LR.  ``labels`` are targets of PC-relative
    instructions.
    """

    fragment: Fragment
    ends: Mapping[Place, tuple[Place | None, bool]]
    calls: Sequence[Place]
    labels: frozenset[Place]
    suffixes: frozenset[Place]


def find_jumps(fragment: Fragment) -> Jumps:
    """Sweep over a fragment once, looking at branches and prefixed instructions only."""
    section, start, end, words, data, relocated, _, final = fragment
    ends: dict[Place, tuple[Place | None, bool]] = {}
    calls = []
    labels = set()
    suffixes = set()
    for run_start, run_end in _runs(start, end, data):
        first = run_start >> 2
        kinds = bytes(
            [words[index] >> 24 for index in range(first, run_end >> 2)],
        ).translate(_INTERESTING)
        at = kinds.find(1)
        while at >= 0:
            place = first + at << 2
            word = words[place >> 2]
            opcode = word >> 26
            if opcode == instruction.PREFIX:
                suffixes.add((section, place + 4))
                at += 1
                if place not in relocated and place + 4 < run_end:
                    distance = instruction.prefixed_displacement(word, words[(place >> 2) + 1])
                    if distance is not None:
                        labels.add((section, place + distance))
            else:
                jump = _jump(word, place, fragment)
                if place in final:
                    jump = None, False
                if jump is not None:
                    ends[section, place] = jump
                if word & 1:
                    calls.append((section, place))
            at = kinds.find(1, at + 1)
    return Jumps(fragment, ends, calls, frozenset(labels), frozenset(suffixes))


def _runs(start: int, end: int, data: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """The parts of start..end that ``data`` leaves."""
    for data_start, data_end in data[bisect_left(data, (start, 0)) :]:
        if data_start >= end:
            break
        if data_start > start:
            yield start, data_start
        start = data_end + 3 & ~3
    if start < end:
        yield start, end


def _jump(word: int, place: int, fragment: Fragment) -> tuple[Place | None, bool] | None:
    """(target, falls through) of the instruction ``word``; None when it doesn't end a block."""
    opcode = word >> 26
    if opcode == BRANCH_REGISTER:
        extended = instruction.extended_opcode(word)
        if extended in _THROUGH_REGISTER:
            if word & 1:
                return None
            return None, not instruction.always_branches(word)
        return (None, False) if extended in instruction.RETURNS else None
    if word & 1:
        return _inner_call(word, place, fragment)
    target: Place | None
    if place in fragment.relocated:
        target = fragment.branch_target(place)
    else:
        distance = instruction.branch_displacement(word)
        if distance is not None and distance > 4 and _is_padding(fragment, place, distance):
            return None
        target = None if distance is None else (fragment.section, place + distance)
    conditional = opcode == BRANCH_CONDITIONAL and not instruction.always_branches(word)
    return target, conditional


def _is_padding(fragment: Fragment, place: int, distance: int) -> bool:
    """Whether the branch at ``place`` does nothing but skip no-ops, as gas's long padding does."""
    if place + distance > fragment.end or fragment.words[(place >> 2) + 1] not in NO_OPERATIONS:
        return False
    between = fragment.words[(place >> 2) + 1 : place + distance >> 2]
    return all(word in NO_OPERATIONS for word in between)


def _inner_call(word: int, place: int, fragment: Fragment) -> tuple[Place | None, bool] | None:
    """The edge of a branch with LK into the middle of its own function, None for other calls."""
    if place in fragment.relocated:
        return None
    distance = instruction.branch_displacement(word)
    if distance is None or not fragment.start < place + distance < fragment.end:
        return None
    return None if distance == 4 else ((fragment.section, place + distance), True)


class Roots(Record):
    """Where a function is entered other than by its own direct branches.

    ``entries`` are where it is called; ``anywhere`` labels that may be jumped to from any
    instruction; ``labels`` those that the program can take the address of, entered from calls and
    from the indirect branches ``wild``, of which nothing is known; ``pads`` gives the instructions
    from which a landing pad is entered, or the fix-up of an exception: calls, or what faults.
    ``is_called_inside`` says that another function calls a place in the middle, or another object
    may: by which convention nobody knows, so any register may hold something there.
    """

    entries: frozenset[Place]
    anywhere: frozenset[Place]
    labels: frozenset[Place]
    wild: Sequence[Place]
    pads: Mapping[Place, Sequence[Place]]
    is_called_inside: bool = False


_NOTHING_PATCHED: Mapping[Place, Place] = {}


class Graph:
    """The blocks of a function, each made when it is first asked for.

    A backward slice sees a few blocks of a function that may have thousands, so only where blocks
    begin is found in advance.  ``targets`` are those places: what something branches to or refers
    to, and what lies behind a branch.  ``suffixes`` are the places of the second words of prefixed
    instructions, ``sources`` the places from which labels are entered.  ``fans`` are groups of
    indirect branches that have all their targets in common, an interpreter's: an edge from each to
    each would be their square.
    """

    __slots__ = (
        "_before",
        "_dead",
        "_edges",
        "_ends",
        "_fans_into",
        "_inside",
        "_live",
        "_starts",
        "_tables",
        "fans",
        "fragments",
        "roots",
        "sources",
        "suffixes",
        "targets",
    )

    def __init__(
        self,
        pieces: Sequence[Jumps],
        roots: Roots,
        tables: Mapping[Place, Iterable[Place]],
        patched: Mapping[Place, Place] = _NOTHING_PATCHED,
    ) -> None:
        """The graph of the function made of ``pieces``.

        ``tables`` gives the targets of indirect branches known so far, by their place; ``patched``
        where what is patched at a place may lead: to the target of a jump label, into a sled.
        """
        self.fragments = [piece.fragment for piece in pieces]
        self.roots = roots
        self.sources = [place for piece in pieces for place in piece.calls]
        self.sources += roots.wild
        self._ends: dict[Place, tuple[Place | None, bool]] = {}
        self.suffixes: set[Place] = set()
        for piece in pieces:
            self._ends.update(piece.ends)
            self.suffixes |= piece.suffixes
        self._edges: dict[Place, list[Place]] = {}
        for place, leads_to in patched.items():
            unpatched, _ = self._ends.get(place, (None, True))
            if unpatched is not None and unpatched != leads_to:
                self._edges.setdefault(unpatched, []).append(place)
            self._ends[place] = leads_to, True
        for place, (target, _) in self._ends.items():
            if target is not None:
                self._edges.setdefault(target, []).append(place)
        self._tables: dict[Place, list[Place]] = {}
        self.fans: list[Sequence[Place]] = []
        self._fans_into: dict[Place, list[int]] = {}
        self._add_tables(tables)
        leaders = {(section, offset + 4) for section, offset in self._ends}
        leaders.update(
            self._edges, self._tables, self._fans_into, roots.entries, roots.anywhere, roots.labels
        )
        leaders.update(roots.pads)
        leaders.update((fragment.section, fragment.start) for fragment in self.fragments)
        leaders.update(label for piece in pieces for label in piece.labels)
        self.targets = leaders
        self._starts: dict[int, list[int]] = {}
        for section, offset in sorted(leaders):
            self._starts.setdefault(section, []).append(offset)
        self._before: dict[Block, list[Block]] = {}
        self._dead: dict[Place, bool] = {}
        self._inside: dict[frozenset[Place], bool] = {}
        self._live: set[Place] | None = None

    def _add_tables(self, tables: Mapping[Place, Iterable[Place]]) -> None:
        """Make edges of what tables lead to; of jumps that all lead alike, a fan."""
        alike: dict[frozenset[Place], list[Place]] = {}
        for place, targets in tables.items():
            alike.setdefault(frozenset(targets), []).append(place)
        for targets, places in alike.items():
            for target in targets:
                if len(places) == 1:
                    self._tables.setdefault(target, []).append(places[0])
                else:
                    self._fans_into.setdefault(target, []).append(len(self.fans))
            if len(places) > 1:
                self.fans.append(places)

    def fans_into(self, block: Block) -> Sequence[int]:
        """The numbers of the `fans` whose jumps all may lead to ``block``."""
        return self._fans_into.get((block.section, block.start), ())

    def fragment_at(self, place: Place) -> Fragment | None:
        """The fragment that ``place`` lies in."""
        for fragment in self.fragments:
            if fragment.holds(place):
                return fragment
        return None

    def are_inside(self, places: frozenset[Place]) -> bool:
        """Whether all ``places`` are of this function, and none is where it is called."""
        known = self._inside.get(places)
        if known is None:
            known = self._inside[places] = all(
                self.fragment_at(place) is not None and place not in self.roots.entries
                for place in places
            )
        return known

    def block_at(self, place: Place) -> Block:
        """The block that the instruction at ``place``, which is in a fragment, lies in."""
        section, offset = place
        starts = self._starts[section]
        index = bisect_right(starts, offset)
        fragment = self.fragment_at(place)
        limit = fragment.end if fragment else offset + 4
        end = min(starts[index], limit) if index < len(starts) else limit
        return Block(section, starts[index - 1], end)

    def predecessors(self, block: Block) -> list[Block]:
        """The blocks that ``block`` may be entered from through an edge of this function.

        But for the edges of `fans_into`.
        """
        before = self._before.get(block)
        if before is None:
            place = (block.section, block.start)
            sources = self._edges.get(place, []) + self._tables.get(place, [])
            blocks = map(self.block_at, sources)
            before = [source for source in blocks if not self.is_dead(source)]
            falling = self._falling_into(place)
            if falling is not None:
                before.append(falling)
            self._before[block] = before
        return before

    def _falling_into(self, place: Place) -> Block | None:
        """The block that ends where ``place`` is and goes on there, unless nothing leads to it."""
        block = self._above(place)
        return None if block is None or self.is_dead(block) else block

    def _above(self, place: Place) -> Block | None:
        """The block that ends where ``place`` is and goes on there."""
        last = (place[0], place[1] - 4)
        fragment = self.fragment_at(last)
        if fragment is None or fragment is not self.fragment_at(place):
            return None
        end = self._ends.get(last)
        return None if end is not None and not end[1] else self.block_at(last)

    def find_live(self) -> None:
        """Follow all ways in to the end: from here on blocks are dead that only dead ones lead to.

        A loop leads to itself.  Most proofs don't need that, and it looks at every block.
        """
        leads_to: dict[Place, list[Place]] = {}
        fans = {
            target: [place for number in numbers for place in self.fans[number]]
            for target, numbers in self._fans_into.items()
        }
        for edges in (self._edges, self._tables, fans):
            for target, sources in edges.items():
                for source in sources:
                    leads_to.setdefault(source, []).append(target)
        roots = self.roots
        pending = [*roots.entries, *roots.anywhere, *roots.labels, *roots.pads]
        live: set[Place] = set()
        self._live = live
        while pending:
            place = pending.pop()
            fragment = self.fragment_at(place)
            if fragment is None:
                continue
            section, start, end = self.block_at(place)
            if (section, start) in live:
                continue
            live.add((section, start))
            last = (section, end - 4)
            pending += leads_to.get(last, ())
            if self._ends.get(last, (None, True))[1] and end < fragment.end:
                pending.append((section, end))

    def is_dead(self, block: Block) -> bool:
        """Whether nothing leads to ``block``: the words of a table, padding, dead code."""
        if self._live is not None:
            return (block.section, block.start) not in self._live
        passed = []
        above: Block | None = block
        dead = True
        while above is not None and dead:
            place = (above.section, above.start)
            known = self._dead.get(place)
            if known is not None:
                dead = known
                break
            passed.append(place)
            dead = not self._is_led_to(place)
            above = self._above(place) if dead else None
        self._dead.update(dict.fromkeys(passed, dead))
        return dead

    def _is_led_to(self, place: Place) -> bool:
        """Whether anything but the block above leads to ``place``."""
        roots = self.roots
        return (
            place in self._edges
            or place in self._tables
            or place in self._fans_into
            or place in roots.entries
            or place in roots.anywhere
            or place in roots.labels
            or place in roots.pads
        )

    def is_label(self, block: Block) -> bool:
        """Whether ``block`` is entered from ``sources``."""
        return (block.section, block.start) in self.roots.labels

    def calls_into(self, block: Block) -> Sequence[Place]:
        """The instructions from which ``block`` is entered as a landing pad or a fix-up."""
        return self.roots.pads.get((block.section, block.start), ())

    def is_anywhere(self, block: Block) -> bool:
        """Whether ``block`` may be entered from any instruction."""
        return (block.section, block.start) in self.roots.anywhere

    def uses_of_lr(self, staying: Container[Place]) -> Iterator[Place]:
        """Where LR's value may become the next instruction's address, here or in who is called.

        That is every return or call through LR, and every other way out of the function; an
        indirect branch counts as one unless it's in ``staying``, and so does the end of a fragment;
        not behind a trap on any condition: who ends a function with it doesn't come back.
        """
        for place in self.sources:
            fragment = self.fragment_at(place)
            word = fragment.words[place[1] >> 2] if fragment else 0
            if (word >> 26, instruction.extended_opcode(word)) == _BCLRL:
                yield place
        for place, (target, _) in self._ends.items():
            if place in staying or (target is not None and self.fragment_at(target) is not None):
                continue
            fragment = self.fragment_at(place)
            if fragment is None or not fragment.words[place[1] >> 2] & 1:  # a call writes LR
                yield place
        for fragment in self.fragments:
            last = (fragment.section, fragment.end - 4)
            if last[1] < fragment.start or instruction.always_traps(fragment.words[last[1] >> 2]):
                continue
            if self._ends.get(last, (None, True))[1]:
                yield last

    def live_blocks(self) -> Iterator[Block]:
        """All blocks that something leads to."""
        for fragment in self.fragments:
            section = fragment.section
            starts = self._starts[section]
            first = bisect_left(starts, fragment.start)
            for start in starts[first : bisect_left(starts, fragment.end)]:
                block = self.block_at((section, start))
                if not self.is_dead(block):
                    yield block


def looks_like_code(word: int) -> bool:
    """False for padding and for small numbers, positive or negative: entries of tables."""
    return 0x04000000 <= word < 0xFFFF0000 and word not in instruction.PADDING
