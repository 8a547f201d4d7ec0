"""Where everything goes: from insertion points to an offset map.

The problem: an inserted nop moves all that follows by four bytes, and that breaks three things that
the assembler had arranged: the alignment of what was padded into place, the reach of conditional
branches (32 KiB), and prefixed instructions, which must not cross a 64-byte boundary.

The rule: walk the section once from front to back, carrying the shift; at each padded place write
exactly as much padding as restores its alignment, more or less than before.  Then look which
conditional branch no longer reaches, let it grow (an inverted branch over a ``b``), and lay out
again until nothing changes.  A branch that grew never shrinks, so this ends.

How padding looks: `power.fill`.  Prefixed instructions: Power ISA 3.1, Book I, 1.6.
"""

from __future__ import annotations

from nopfix.dwarf.offset_map import Edit, OffsetMap, inside, padding, resize, slot
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.fill import fill
from nopfix.rewriter.power.instruction import NOP

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from nopfix.rewriter.power.fill import Style
    from nopfix.rewriter.power.instruction import Branch

PREFIXED_BOUNDARY = 64


class Alignment(Record):
    """Something that is aligned, and the padding in front of it.

    Old section offsets in bytes: the padding is [``padding``, ``start``), possibly empty.
    ``alignment`` is in bytes; 0 means a prefixed instruction, which has to stay clear of a 64-byte
    boundary.  What is aligned lies ``ahead`` bytes behind ``start``; what is in between belongs to
    it.  ``filler`` is the word that pads, where it is none of the assembler's own.
    """

    padding: int
    start: int
    alignment: int
    ahead: int = 0
    filler: int | None = None


class Replacement(Record):
    """Old bytes [``start``, ``end``) of a section give way to ``data``."""

    start: int
    end: int
    data: bytes


class Layout(Record):
    """A section's offset map, the bytes that change place for it, and the branches that grew.

    ``replacements`` are in ascending order.  ``expanded`` are the old places of conditional
    branches that now need a second word (or two more) behind them.
    """

    map: OffsetMap
    replacements: list[Replacement]
    expanded: list[Branch]


def lay_out(
    words: Sequence[int],
    slots: Iterable[int],
    alignments: Sequence[Alignment],
    branches: Sequence[Branch],
    style: Style,
    section: str,
) -> Layout:
    """Lay a section out anew.

    ``words`` are its old instruction words, ``slots`` the old offsets at which a nop goes in,
    ``branches`` those that hold their own displacement, ``style`` how padding is written;
    ``section`` is its name for messages.  Raises `Refusal` where a branch can't be made to reach.
    """
    slot_list = sorted(slots)
    _refuse_strays(branches, 4 * len(words), section)
    expanded: dict[int, Branch] = {}
    while True:
        grown = {b.place + 4: _expansion_size(words[b.place >> 2]) for b in expanded.values()}
        layout = _place(slot_list, grown, alignments, style, list(expanded.values()))
        far = _out_of_reach(words, branches, layout.map, expanded, section)
        if not far:
            return layout
        expanded.update((branch.place, branch) for branch in far)


def _refuse_strays(branches: Sequence[Branch], size: int, section: str) -> None:
    """Raise `Refusal` for a branch that leads out of its section, which has ``size`` bytes.

    Where it leads to isn't ours to say: LLVM's assembler lets the displacement of a conditional
    branch that doesn't reach wrap round without a word (seen with clang 19).
    """
    targets = [target for _, target in branches]
    if not targets or (min(targets) >= 0 and max(targets) <= size):
        return
    for place, target in branches:
        if not 0 <= target <= size:
            raise Refusal(
                f"a branch leads to {target:#x}, outside its section",
                section=section,
                offset=place,
                remedy="look at the code there: LLVM's assembler writes this, without a warning, "
                "for a conditional branch that doesn't reach",
            )


def _place(
    slots: Sequence[int],
    grown: dict[int, int],
    alignments: Sequence[Alignment],
    style: Style,
    expanded: list[Branch],
) -> Layout:
    """One pass over the section: every edit and replacement, given which branches grow."""
    edits: list[Edit] = []
    replacements: list[Replacement] = []
    nop = NOP.to_bytes(4, "little")
    # At one offset the grown branch comes first, then the slot, then padding.
    events: list[tuple[int, int, int, Alignment | None]] = [
        (offset, 0, size, None) for offset, size in grown.items()
    ]
    events += [(offset, 1, 4, None) for offset in slots]
    events += [(a.start, 2, 0, a) for a in alignments]
    events.sort(key=lambda event: event[:2])
    shift = 0
    for offset, _, size, aligned in events:
        if aligned is None:
            edits.append(slot(offset, size))
            replacements.append(Replacement(offset, offset, nop * (size >> 2)))
            shift += size
            continue
        old_size = aligned.start - aligned.padding
        new_size = _padding_size(aligned, aligned.padding + shift)
        if new_size == old_size:
            continue
        growth = new_size - old_size
        if old_size:
            edits.append(resize(offset, growth))
        elif aligned.alignment:
            edits.append(padding(offset, growth))
        else:
            edits.append(inside(offset, growth))
        own = style if aligned.alignment else style._replace(last=NOP)
        if aligned.filler is None:
            padded = fill(new_size, own)
        else:
            padded = aligned.filler.to_bytes(4, "little") * (new_size >> 2)
        replacements.append(Replacement(aligned.padding, offset, padded))
        shift += growth
    return Layout(OffsetMap(edits), replacements, expanded)


def _padding_size(aligned: Alignment, end: int) -> int:
    """Bytes of padding in front of ``aligned`` when what lies before it ends at ``end``."""
    if aligned.alignment:
        return -(end + aligned.ahead) % aligned.alignment
    return 4 if end % PREFIXED_BOUNDARY == PREFIXED_BOUNDARY - 4 else 0


def _expansion_size(word: int) -> int:
    """Bytes that the conditional branch ``word`` grows by when it no longer reaches."""
    return 4 if instruction.inverted(word) is not None else 8


def _out_of_reach(
    words: Sequence[int],
    branches: Sequence[Branch],
    moved: OffsetMap,
    expanded: Collection[int],
    section: str,
) -> list[Branch]:
    # Cheap test first: most branches are nowhere near any limit.
    near = instruction.CONDITIONAL_REACH - (max(moved.shifts) - min(moved.shifts))
    far = []
    for branch in [b for b in branches if not -near < b[1] - b[0] < near]:
        place, target = branch
        word = words[place >> 2]
        if place in expanded or instruction.reaches(word, moved.start(target) - moved.start(place)):
            continue
        if word >> 26 == instruction.BRANCH:
            raise Refusal(
                f"the branch to {target:#x} would be longer than 32 MiB",
                section=section,
                offset=place,
                remedy="split the source file",
            )
        if word & 1:
            raise Refusal(
                f"the conditional call to {target:#x} would be longer than 32 KiB",
                section=section,
                offset=place,
                remedy="call through an unconditional bl",
            )
        far.append(branch)
    return far


def expansion(word: int, place: int, target: int) -> list[int]:
    """The words that a conditional branch becomes when ``target`` is out of its reach.

    ``place`` and ``target`` are new section offsets.  The branch is inverted over a ``b``; where it
    can't be inverted it goes to a ``b`` of its own, with another one around that.
    """
    inverse = instruction.inverted(word)
    if inverse is not None:
        return [
            instruction.with_displacement(inverse, 8),
            instruction.branch(target - (place + 4)),
        ]
    return [
        instruction.with_displacement(word, 8),
        instruction.branch(8),
        instruction.branch(target - (place + 8)),
    ]
