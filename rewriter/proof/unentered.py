"""Words of a code section that nothing enters: data, whatever instruction they look like.

The problem: what a hand wrote keeps strings and literals between its instructions, behind a branch
that leads over them or behind a return.  Without a symbol that declares them they are words like
others, and one that looks like a branch or a call would be moved, or given a slot.

The rule: where an instruction never goes on to the next word, that word is run only if something
leads to it: a branch, a function's or a visible symbol, an address, a table, a landing pad; or
``__morestack``, which comes back behind the return that follows its call.  From there up to the
next place that something leads to all words are data, unless a relocation fills a field among them
that only instructions have, or a call among them leads to a name: code behind an endless loop.

A branch that somebody names (a static key's) may be a no-op at run time, and goes on to the next
word.

What a relocated load or store reads is data, whatever names it but a function's symbol or a branch.
A local label that none of these leads to enters nothing.  A branch among such words leads nowhere:
what is run is followed from what something leads to.  Only what looks like a branch matters, so
only words with one among them are told apart; a jump over nothing but no-ops is padding.  A single
word in front of a function may be a type hash: `function_prefix` judges those.

Source: Power ISA 3.1, Book I, 2.4 (branches), 3.3.2 (loads).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.object import elf
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.relocation import BRANCHES, TYPES
from nopfix.rewriter.proof.analysis import UNENTERED, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from nopfix.rewriter.object.program import Program
    from nopfix.rewriter.power.instruction import Branch, Instructions

_FINAL = tuple(
    word.to_bytes(4, "little") for word in (instruction.BLR, instruction.BCTR, 0x4C000024)
)
"""``blr``, ``bctr`` and ``rfid``, as they lie in memory."""

_B = instruction.BRANCH << 26
"""``b``, when the displacement and the absolute bit are taken away."""

_DATA = frozenset((elf.STT_OBJECT, elf.STT_TLS))

_ONLY_INSTRUCTIONS = frozenset(
    number for number, row in TYPES.items() if row.field in ("LI", "BD", "DS", "DX", "prefixed")
)
_ADDRESSES = frozenset(
    number for number, row in TYPES.items() if row.field in ("half", "DS", "prefixed")
)


def find(
    program: Program,
    number: int,
    found: Instructions,
    regions: Sequence[Region],
    targets: Iterable[int],
    named: Callable[[int], Iterable[int]],
) -> list[Region]:
    """The data of section ``number`` that nothing enters and that looks like branches.

    ``found`` is what a sweep found beside the data ``regions``, ``targets`` are the offsets that
    indirect branches lead to; ``named`` gives the places of a section that somebody names, symbols
    aside (`object.claims`).  It is asked where something isn't led to by a branch or a symbol.
    """
    ends = _ends(program, number, found, regions)
    own = program.functions_in(number).starts
    branches = [branch for branch in found.branches if branch.target != branch.place]
    known = {target for _, target in branches}.union(targets, own)
    known.update(region.start for region in regions)
    words = program.words(number)
    if all(_behind_padding(words, end, known) in known for end in ends):
        return []  # compilers' code: everything behind a branch is led to
    stops = set(named(number))
    # Who names a branch may put a no-op there: the kernel's static keys do.
    ends = [end for end in ends if end - 4 not in stops]
    stops |= _addressed(program, number, found) | _visible(program, number)
    stops -= _read(program, number)
    stops.update(own, targets, (region.start for region in regions))
    stops |= _behind_morestack(program, number)
    stops |= _led_to(branches, ends, stops, 4 * len(words))
    shown = sorted(
        place
        for place, kind in program.fields_of(number)
        if kind in _ONLY_INSTRUCTIONS and not place & 3
    )
    names = frozenset(program.symbols_in(number)[0])
    return [
        Region(start, end, UNENTERED, 1)
        for start, end in _runs(program, number, ends, stops)
        if not (end - start == 4 and end in own)
        and _looks_like_branches(program, number, range(start, end, 4), shown, names)
    ]


def _led_to(
    branches: Sequence[Branch], ends: Sequence[int], stops: Iterable[int], limit: int
) -> set[int]:
    """Where the ``branches``, in ascending order, lead that are run, if what is at ``stops`` is.

    From a place that something leads to on all is run up to the next of ``ends``, and each branch
    there leads to such places again.  Each branch is looked at once.
    """
    places = [place for place, _ in branches]
    leads = [target for _, target in branches]
    bounds = [0, *ends, limit]
    # Of each piece between two bounds, from where on it is known to be run.
    run = bounds[1:]
    found: set[int] = set()
    left = [0, *stops]
    while left:
        place = left.pop()
        piece = bisect_right(bounds, place) - 1
        if place & 3 or not 0 <= place < limit or place >= run[piece]:
            continue
        first, last = bisect_left(places, place), bisect_left(places, run[piece])
        run[piece] = place
        targets = set(leads[first:last])
        left.extend(targets - found)
        found |= targets
    return found


def _ends(
    program: Program, number: int, found: Instructions, regions: Sequence[Region]
) -> list[int]:
    """The places that no instruction in front of them, and no data, goes on to."""
    words, limit = program.words(number), 4 * len(program.words(number))
    branches = [place for place, _ in found.branches]
    branches += [place for place, kind in program.fields_of(number) if kind in BRANCHES]
    ends = {
        place + 4
        for place in branches
        if place < limit and not place & 3 and words[place >> 2] & 0xFC000001 == _B
    }
    contents = bytes(program.obj.contents(number))
    for word in _FINAL:
        ends.update(at + 4 for at in instruction.aligned_places(contents, word))
    starts = [region.start for region in regions]
    for end in list(ends):
        index = bisect_left(starts, end) - 1
        if index >= 0 and end < regions[index].end:
            ends.remove(end)
    ends.update(region.end for region in regions if not region.end & 3)
    return sorted(end for end in ends if end < limit)


def _behind_padding(words: Sequence[int], place: int, stops: Container[int]) -> int:
    """The first word from ``place`` on that is no no-op or is among ``stops``."""
    while (
        place not in stops
        and place >> 2 < len(words)
        and words[place >> 2] in instruction.NO_OPERATIONS
    ):
        place += 4
    return place


def _runs(
    program: Program, number: int, starts: Iterable[int], stops: AbstractSet[int]
) -> list[tuple[int, int]]:
    """From each of ``starts`` up to a stop, sorted and disjoint."""
    words = program.words(number)
    limit = 4 * len(words)
    ordered = sorted(stop for stop in stops if not stop & 3 and stop < limit)
    ordered.append(limit)
    found: list[tuple[int, int]] = []
    for at in starts:
        start = _behind_padding(words, at, stops)
        if start >= limit or (found and start < found[-1][1]):
            continue
        end = ordered[bisect_left(ordered, start)]
        if end > start:
            found.append((start, end))
    return found


def _looks_like_branches(
    program: Program, number: int, run: range, shown: Sequence[int], names: Container[int]
) -> bool:
    """Whether a word of ``run`` looks like a branch, and nothing shows that it's code.

    A relocation shows that, one of those at ``shown``, or a call that leads exactly to a symbol
    (one of ``names``) or a label beside words that are all instructions: code behind an endless
    loop.
    """
    words, filling = program.words(number), program.filling(number)
    if bisect_left(shown, run.start) < bisect_left(shown, run.stop):
        return False
    branches = {}
    for place in run:
        distance = instruction.branch_displacement(words[place >> 2])
        if distance is not None and place not in filling and not _jumps_over(words, place):
            branches[place] = place + distance
    if not branches:
        return False
    from nopfix.rewriter.power.opcodes import find as row_of

    calls = [target for place, target in branches.items() if words[place >> 2] & 1]
    return not (
        calls
        and all(target in names for target in calls)
        and all(0 <= target < 4 * len(words) for target in branches.values())
        and all(row_of(words[place >> 2]) is not None for place in run)
    )


def _visible(program: Program, number: int) -> set[int]:
    """Where symbols that other objects see name code."""
    symbols = program.obj.symbols
    return {
        value
        for value, index in zip(*program.symbols_in(number), strict=True)
        if symbols.infos[index] >> 4 != elf.STB_LOCAL and symbols.type(index) not in _DATA
    }


def _behind_morestack(program: Program, number: int) -> set[int]:
    """Where ``__morestack`` comes back to: three words behind the return address of its call."""
    symbols = program.obj.symbols
    if b"__morestack" not in symbols.strings:
        return set()
    return {
        reference.place + 16
        for reference in program.of_types(number, BRANCHES)
        if symbols.name(reference.symbol).startswith("__morestack")
    }


def _jumps_over(words: Sequence[int], place: int) -> bool:
    """Whether the branch at ``place`` leads over nothing but no-ops."""
    distance = instruction.branch_displacement(words[place >> 2])
    if distance is None or not 4 < distance <= 4 * len(words) - place or words[place >> 2] & 1:
        return False
    between = words[(place >> 2) + 1 : place + distance >> 2]
    return all(word in instruction.NO_OPERATIONS for word in between)


def _addressed(program: Program, number: int, found: Instructions) -> set[int]:
    """Where prefixed instructions of the section itself, but no loads or stores, lead to."""
    words = program.words(number)
    return {target for place, target in found.relative if not _loads(words, place >> 2)}


def _read(program: Program, number: int) -> set[int]:
    """What relocated loads and stores of the object read in section ``number``, and no branch."""
    read: set[int] = set()
    branched: set[int] = set()
    for code in program.code:
        words = program.words(code)
        for reference in program.references_to_code_from(code):
            if reference.target != number:
                continue
            if reference.type in BRANCHES:
                branched.add(reference.offset)
            elif reference.type in _ADDRESSES and _loads(words, reference.place >> 2):
                read.add(reference.offset)
    return read - branched


def _loads(words: Sequence[int], index: int) -> bool:
    """Whether the instruction at ``index`` loads or stores."""
    from nopfix.rewriter.power.opcodes import find as row_of
    from nopfix.rewriter.power.opcodes import find_prefixed

    if instruction.is_prefix(words[index]):
        row = find_prefixed(words[index], words[index + 1]) if index + 1 < len(words) else None
    else:
        row = row_of(words[index])
    return row is not None and (bool(row.store) or "MEM(" in row.formula)
