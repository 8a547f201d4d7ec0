"""What lies between two functions: padding, or what belongs to the second.

The problem: between the end of one function and the start of the next there may be padding, which
grows and shrinks, or words that are read by their distance from the function behind them: LLVM's
prefix data, a table in front of an entry.  Padding put between such words and their function takes
them apart; taken for padding they disappear.

The rule: padding is exactly what an assembler or ``ld -r`` would fill such a gap with, named by
nobody but a label at the function's end.  What else lies directly in front of a function, and is no
code, stays there: padding goes in front of it, so much that whatever was aligned still is.

A filler of one's own is one word again and again.  ``trap`` is padding (lld fills with it, and
``.balignl 32, 0x7fe00008``) where nothing leads or goes on to it, and none is put where the code in
front may go on.  Any other (``.balign 16, 0``) may as well be data: it stays in front of its
function as other words do.

The alignment of functions is the smallest that explains all gaps of the section, since compilers
align all functions of a section alike; without a gap to judge by it is 16 where the section's own
alignment and every function's offset agree with that.  It is coarser where the compiler's options,
kept in the debug information, say so, or where nothing else accounts for the section's alignment:
no loop, table or constant lies on that grid.

Source: binutils, gas/config/tc-ppc.c (ppc_handle_align); gABI 4, sh_addralign; LLVM Language
Reference, "Prefix Data"; LLVM, PPCISelLowering.cpp (getPrefLoopAlignment).
"""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.layout.layout import Alignment
from nopfix.rewriter.power.fill import fill_style
from nopfix.rewriter.power.instruction import (
    GROUP_ENDS,
    NO_OPERATIONS,
    NOP,
    NOTHING_FOUND,
    always_traps,
    branch_displacement,
    goes_elsewhere,
    is_call,
)
from nopfix.rewriter.proof.analysis import RELOCATED_DATA, TOC_WORD, TYPE_HASH, UNENTERED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence, Set

    from nopfix.rewriter.object.program import Functions
    from nopfix.rewriter.power.instruction import Instructions
    from nopfix.rewriter.proof.analysis import Region

FUNCTION_ALIGNMENT = 16
"""What compilers align functions to, in bytes."""
TRAP = 0x7FE00008
"""``trap``: a filler that is nobody's data."""
_PREFIXES = frozenset((TOC_WORD, TYPE_HASH))
"""What is aligned in place of the function behind it."""
_UNDECLARED = frozenset((RELOCATED_DATA, UNENTERED))
"""Data that nothing but its place gives to anybody."""
LABEL_ALIGNMENT = 32
"""What compilers align loops to at most, in bytes."""
_MANY = 6


def function_gaps(
    words: Sequence[int],
    functions: Functions,
    regions: Sequence[Region],
    kept: Set[int] = frozenset(),
    found: Instructions = NOTHING_FOUND,
    entered: Collection[int] = (),
) -> list[Alignment]:
    """The gap in front of each function but the first, with alignment 1: still to be judged.

    A gap that isn't exactly the assembler's padding is given as empty, in front of what belongs to
    the function.  What somebody names in it (``kept``: no-ops in front of a function that are
    patched) begins the function.  ``found`` are the instructions that a sweep found, ``entered``
    the places that a branch leads to.
    """
    prefixes = {region.end: region.start for region in regions if region.kind in _PREFIXES}
    data = {region.end for region in regions if region.kind in _UNDECLARED}
    own_ends = {e for s, e in zip(functions.starts, functions.ends, strict=True) if e > s}
    ends = sorted([region.end for region in regions] + list(own_ends))
    gaps = []
    at = furthest = solid = before = 0
    for start in functions.starts:
        item = prefixes.get(start, start)
        while at < len(ends) and ends[at] <= item:
            furthest = ends[at]
            if furthest not in data or furthest in own_ends:
                solid = furthest
            at += 1
        previous, before = before, start
        if not item:
            continue
        end = furthest + 3 & ~3
        if kept:
            item = next((at for at in range(end, item, 4) if at in kept), item)
        inside = at < len(ends) and functions.end(item - 1) not in (None, item)
        if inside:
            gaps.append(Alignment(item, item, 1))
        elif end < item and fill_style(words[end >> 2 : item >> 2]) is not None:
            gaps.append(Alignment(end, item, 1))
        elif solid == item or previous > solid or (previous == solid and previous in kept):
            # Nothing lies in front, or a function of no size does.
            gaps.append(Alignment(item, item, 1))
        else:
            gap = _with_what_belongs_to_it(words, solid + 3 & ~3, item, found)
            if gap.filler == TRAP and not traps_fill(words, gap, entered):
                gap = Alignment(item, item, 1)
            gaps.append(gap)
    return gaps


def traps_fill(words: Sequence[int], gap: Alignment, entered: Collection[int]) -> bool:
    """Whether the traps in ``gap`` are there for nobody: no branch leads there (``entered``), and
    the code in front doesn't go on to them, calls aside, which may not return.
    """
    if any(place in entered for place in range(gap.padding, gap.start, 4)):
        return False
    last = (gap.padding >> 2) - 1
    if last > 0 and words[last] == NOP:
        last -= 1
    return last < 0 or is_call(words[last]) or _ends_way(words[last])


def _ends_way(word: int) -> bool:
    return goes_elsewhere(word) or always_traps(word)


def passable(words: Sequence[int], gaps: Iterable[Alignment]) -> list[Alignment]:
    """``gaps`` with the assembler's padding for traps where there was no gap and code may go on."""
    return [
        gap._replace(filler=None)
        if gap.filler == TRAP
        and gap.padding == gap.start
        and gap.start
        and not _ends_way(words[(gap.start >> 2) - 1])
        else gap
        for gap in gaps
    ]


def _with_what_belongs_to_it(
    words: Sequence[int], end: int, item: int, found: Instructions
) -> Alignment:
    """The gap in front of the words, from ``end`` on, that lie directly in front of ``item``."""
    start = _behind_padding(words, end, item)
    if start >= item or words[(item >> 2) - 1] in NO_OPERATIONS or has_code(found, start, item):
        return Alignment(item, item, 1)
    own = words[start >> 2 : item >> 2]
    if start == end and len(set(own)) == 1:
        return Alignment(end, item, 1, filler=own[0])
    if start % FUNCTION_ALIGNMENT == 0:
        return Alignment(end, start, 1)
    return Alignment(start, start, 1, item - start)


def _behind_padding(words: Sequence[int], end: int, item: int) -> int:
    """Where the padding ends that begins at ``end``; ``end`` itself where there is none."""
    jump = branch_displacement(words[end >> 2]) if end < item else None
    if jump is not None and 0 < jump < item - end:
        if fill_style(words[end >> 2 : end + jump >> 2]) is not None:
            return end + jump
        return end
    start = end
    while start < item and words[start >> 2] == NOP:
        start += 4
    if start < item and words[start >> 2] in GROUP_ENDS:
        start += 4
    return start if start == end or fill_style(words[end >> 2 : start >> 2]) is not None else end


def has_code(found: Instructions, start: int, end: int) -> bool:
    """Whether a branch or a call lies from ``start`` to ``end``: code that no symbol declares."""
    branches = found.branches
    index = bisect_left(branches, start, key=itemgetter(0))
    if index < len(branches) and branches[index][0] < end:
        return True
    return any(
        index < len(own) and own[index] < end
        for own in (found.calls, found.prefixed)
        for index in (bisect_left(own, start),)
    )


def aligned_by_llvm(branches: Iterable[tuple[int, int]]) -> set[int]:
    """Where loops begin that LLVM may align to more than 16 bytes without being told to.

    ``branches`` are places and targets.  Such a loop is 5 to 8 instructions long or lies in another
    one; other labels aren't aligned at all.
    """
    loops: dict[int, int] = {}
    for place, target in branches:
        if target <= place:
            loops[target] = max(place + 4, loops.get(target, 0))
    found, furthest = set(), 0
    for start, end in sorted(loops.items()):
        if end <= furthest or 16 < end - start <= 32:
            found.add(start)
        furthest = max(furthest, end)
    return found


def accounted_alignment(labels: Iterable[int], tables: Iterable[Alignment]) -> int:
    """The greatest alignment that something else than functions accounts for, in bytes; else 0.

    ``labels`` are the places in functions that something leads to, by offset.
    """
    aligned = [label & -label for label in labels if label and not label % FUNCTION_ALIGNMENT]
    most = min(max(aligned, default=0), LABEL_ALIGNMENT)
    return max([most, *(table.alignment for table in tables)])


def function_alignments(
    gaps: Sequence[Alignment], section_alignment: int, accounted: int, told: int = 0
) -> list[Alignment]:
    """``gaps`` with the alignment of each; those that aren't aligned at all are left out.

    ``section_alignment`` is sh_addralign; ``accounted`` is how much of it something else accounts
    for; ``told`` what the compiler was told, or 0.
    """
    gaps = _judge_fillers(gaps, section_alignment)
    common = _common_alignment(gaps, section_alignment, accounted, told)
    aligned = []
    for gap in gaps:
        if _aligned_place(gap) % common == 0 and gap.start - gap.padding < common:
            alignment = common
        else:
            alignment = _of_its_own(gap, section_alignment)
        alignment = max(alignment, gap.alignment)
        if alignment > 4:
            aligned.append(gap._replace(alignment=alignment))
    return aligned


def _of_its_own(gap: Alignment, limit: int) -> int:
    """The alignment of a gap that the others say nothing of."""
    return smallest([gap], limit) if gap.padding < gap.start else 4


def _aligned_place(gap: Alignment) -> int:
    return gap.start + gap.ahead


def _judge_fillers(gaps: Sequence[Alignment], limit: int) -> list[Alignment]:
    """``gaps`` with traps as padding; other fillers stay with what is behind them."""
    if all(gap.filler is None for gap in gaps):
        return list(gaps)
    traps = {gap for gap in gaps if gap.filler == TRAP and smallest([gap], limit) > 4}
    others = [gap for gap in gaps if gap.filler is None and gap.padding < gap.start]
    only = TRAP if traps and not others else None
    judged = []
    for gap in gaps:
        if gap.filler is None:
            is_empty = gap.padding == gap.start and not gap.ahead
            judged.append(gap._replace(filler=only) if is_empty else gap)
        elif gap in traps:
            judged.append(gap)
        elif gap.filler == TRAP:
            judged.append(Alignment(gap.start, gap.start, 1))
        else:
            alignment = smallest([gap], limit)
            is_aligned = alignment <= 4 and gap.padding % FUNCTION_ALIGNMENT == 0
            kept = Alignment(gap.padding, gap.padding, 1)
            judged.append(kept if is_aligned else kept_in_front(gap, alignment))
    return judged


def kept_in_front(gap: Alignment, alignment: int) -> Alignment:
    """A gap whose words stay as they are in front of what is aligned behind them."""
    return Alignment(gap.padding, gap.padding, alignment, gap.start - gap.padding)


def _common_alignment(
    gaps: Sequence[Alignment], section_alignment: int, accounted: int, told: int
) -> int:
    padded = [gap for gap in gaps if gap.padding < gap.start]
    if padded:
        common = smallest(padded, section_alignment)
    elif section_alignment >= FUNCTION_ALIGNMENT:
        common = FUNCTION_ALIGNMENT
    else:
        common = max(section_alignment, 4) if section_alignment > accounted else 4
    places = [_aligned_place(gap) for gap in gaps]
    if any(place % common for place in places) and not padded:
        return 4
    for coarser in (section_alignment if section_alignment > accounted else 0, told):
        if common < coarser <= section_alignment and not any(place % coarser for place in places):
            return coarser
    # Many functions on a coarser grid are no coincidence (-falign-functions=32).
    while (
        len(gaps) >= _MANY
        and common * 2 <= section_alignment
        and not any(place % (common * 2) for place in places)
    ):
        common *= 2
    return common


def smallest(gaps: Sequence[Alignment], limit: int) -> int:
    """The smallest alignment up to ``limit`` that accounts for the size of every gap, or 4.

    What compilers use for functions is tried before 8, which a single word of padding suits too.
    """
    for alignment in (FUNCTION_ALIGNMENT, 8, *(FUNCTION_ALIGNMENT << i for i in range(1, 12))):
        if alignment <= limit and all(
            gap.start % alignment == 0 and gap.start - gap.padding < alignment for gap in gaps
        ):
            return alignment
    return 4
