"""Gaps: the padding in front of something aligned, which may be longer or shorter in OUT.

A gap is a run of no-ops that belong to nobody (`Code.owned`), in front of a label or of data.
Behind an instruction that doesn't go on, what follows has a label, known or not: nothing else leads
there. A gap may change only so that what follows is aligned as before: to a power of two, no more
than the section's own, that both lengths are shorter than. gas fills gaps with nops, the last one
`ori 2,2,0` where the processor has group-ending ones, or with a branch over nops (binutils,
gas/config/tc-ppc.c, ppc_handle_align). The linker fills those between input sections with plain
nops (bfd/elf64-ppc.c, the section's fill), so where a function ends and another begins both are
padding. Inside a function of an object whose gaps end in `ori 2,2,0`, nops that don't are
instructions, unless LLVM made a part of the object: it knows nothing of groups (LLVM,
llvm/lib/Target/PowerPC/MCTargetDesc/PPCAsmBackend.cpp, writeNopData), and .comment says that it was
there. Then both kinds are padding, and which of them a gap is in OUT is no matter: either does
nothing. Traps are a linker's, or of a directive with a filler; what leads or goes on to them means
them, but for a call, which may not return.

Words directly in front of a function that are neither padding nor code belong to it (`Code.ahead`):
a gap lies in front of them, none behind. So it is with words in front of a constant that vectors
are read from (`Code.vectors`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import power
from nopfix.verifier.power import VECTOR
from nopfix.verifier.registers import goes_on, is_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nopfix.verifier.code import Code
    from nopfix.verifier.elf import Object


class Gap(NamedTuple):
    """Padding of IN, perhaps of no length; `start` and `end` are indices of words."""

    start: int
    end: int
    between: bool
    """Whether it lies between functions, or behind the last one."""
    filler: int | None = None
    """The word that it is made of, where that is none of the assembler's."""

    @property
    def length(self) -> int:
        """In words."""
        return self.end - self.start


def gaps(code: Code) -> list[Gap]:
    """All gaps of a section, and the places without one that may get one, in order."""
    words = code.words
    stops = {*code.labels, *code.guesses, *code.functions.names, *code.widths}
    stops.update(4 * index for index in _data_starts(code))
    stops.update(4 * index for index in _unreached(code))
    stops.update(code.ahead)
    constants = set(code.vectors.values())
    stops.update(constants)
    traps = _traps(code)
    fronted = {start + size for start, size in code.ahead.items() if start not in constants}
    if not code.section.size % 4:
        stops.add(code.section.size)
    found = []
    for offset in sorted(stops):
        index, rest = divmod(offset, 4)
        if rest or not 0 <= index <= len(words) or index in code.regions.held:
            continue
        between = (
            offset in code.functions.names
            or offset in code.undeclared
            or offset in code.fronts
            or offset in code.ahead
            or offset in constants
            or offset == code.section.size
        )
        if offset in traps or (traps and offset in code.functions.names and _stops(words, index)):
            found.append(Gap(traps.get(offset, index), index, between, power.TRAP))
        start = _start(code, index)
        if start < index or (offset not in fronted and _may_gain(code, offset, between=between)):
            found.append(Gap(start, index, between))
        if start < index - 1 and not power.is_padding(words[start]):
            # The branch may as well be an instruction, with gas's nops behind it.
            found.append(Gap(start + 1, index, between))
        for own in range(start + 1, index + 1):
            # So may be no-ops at a function's end, or at the end of code behind that.
            behind = own == index and 4 * start not in code.functions.ends
            if between and (own * 4 in code.functions.ends or behind):
                found.append(Gap(own, index, between))
    return found


def _traps(code: Code) -> dict[int, int]:
    """Where `trap` after `trap` fills a gap, as lld does, by the offset of the function behind."""
    found = {}
    led_to = {4 * index + power.displacement(code.words[index]) for index in code.branches}
    for table in code.regions.tables:
        led_to.update(table.targets)
    for start in (*code.functions.starts, *code.undeclared):
        first = start
        while (
            first
            and code.words[first // 4 - 1] == power.TRAP
            and (first == start or first not in code.labels)
        ):
            first -= 4
        if first == start or first not in code.ends or first in led_to:
            continue
        if _stops(code.words, first // 4) or _is_behind_call(code.words, first // 4):
            found[start] = first // 4
    return found


def _stops(words: Sequence[int], index: int) -> bool:
    """Whether no instruction goes on to word `index`."""
    return not index or not goes_on(words[index - 1])


def _is_behind_call(words: Sequence[int], index: int) -> bool:
    """Whether a call, perhaps with a slot, is in front of word `index`."""
    behind = index - (words[index - 1] in power.SLOTS)
    return behind > 0 and is_call(words[behind - 1])


def _data_starts(code: Code) -> list[int]:
    data = code.regions.data_words
    return [index for index in data if index - 1 not in data]


def _unreached(code: Code) -> list[int]:
    """Words behind no-ops that nothing runs into: what follows those is entered from elsewhere."""
    words, found = code.words, []
    for index, (before, word) in enumerate(itertools.pairwise(words), 1):
        if not power.is_padding(word) or goes_on(before) or index - 1 in code.regions.data_words:
            continue
        while index < len(words) and _is_free(code, index):
            index += 1
        found.append(index)
    return found


def _start(code: Code, end: int) -> int:
    """Where the padding in front of word `end` begins; `end` where there is none."""
    words, index = code.words, end
    while index and _is_free(code, index - 1):
        index -= 1
        if index * 4 in code.labels:
            return index
    if index < end and words[index] == power.NOP and index and _jumps_over(code, index - 1, end):
        return index - 1
    return index


def first_no_op(code: Code, gap: Gap) -> int:
    """Where the no-ops begin that a label parts and nothing runs into; else the gap's start."""
    first = gap.start
    while first and gap.length and _is_free(code, first - 1):
        first -= 1
    return first if _stops(code.words, first) else gap.start


def _is_free(code: Code, index: int) -> bool:
    """Whether a word is a no-op that belongs to nobody."""
    return (
        power.is_padding(code.words[index])
        and index not in code.owned
        and index not in code.regions.data_words
        and not code.is_slot(index)
    )


def _jumps_over(code: Code, index: int, end: int) -> bool:
    """Whether a word is gas's branch over the rest of the padding."""
    word = code.words[index]
    return (
        word & 0xFC000003 == 0x48000000
        and index * 4 not in code.regions.filled
        and index not in code.regions.data_words
        and power.displacement(word) == 4 * (end - index)
    )


def _may_gain(code: Code, offset: int, *, between: bool) -> bool:
    """Whether something that has no padding in IN can be known to be aligned."""
    if between:
        # Behind what stands in front of it a function isn't aligned: that is.  A patched entry of
        # the function in front is that one's own.
        own = code.functions.at(offset - 1)
        first = offset if own is None or offset not in code.functions.ends else own
        return not any(offset - size in code.fronts for size in (4, 8) if offset - size < first)
    return code.widths.get(offset, 0) == 8 or offset in code.sleds


# In OUT


def wanted(code: Code, gap: Gap, new: Sequence[int], place: int) -> int:
    """Words of padding that OUT has at `place` in the gap's stead."""
    end = place
    if gap.filler is not None:
        while end < len(new) and new[end] == gap.filler:
            end += 1
        return end - place
    if _over(new, place):
        end += 1
    while end < len(new) and power.is_padding(new[end]):
        end += 1
    if end - place > 1 and new[place] >> 26 == power.I_FORM and _over(new, place) != end:
        end = place
    # No-ops of IN that follow and are not padding are there in OUT as well.
    behind = gap.end
    while (
        behind < len(code.words)
        and power.is_padding(code.words[behind])
        and behind not in code.regions.data_words
    ):
        behind += 1
    available = end - place
    return available - (behind - gap.end) if available >= behind - gap.end else available


def _over(new: Sequence[int], place: int) -> int:
    """Where a branch over nops leads to; 0 where there is none."""
    if place + 1 >= len(new) or new[place] & 0xFC000003 != 0x48000000:
        return 0
    return place + power.displacement(new[place]) // 4 if new[place + 1] == power.NOP else 0


class Style(NamedTuple):
    """What an object's padding is made of."""

    plain: bool
    """Whether gaps inside functions may end in a nop."""
    words: frozenset[int]
    """The no-ops that may be in it."""


def style(old: Object) -> Style:
    """What padding may be made of in an object.

    gas ends gaps in a group-ending no-op where it was told of a processor that has them, which is
    one kind of processor.
    """
    code = [section.data for section in old.sections if section.executable]
    endings = {
        word
        for word in power.GROUP_ENDING_NOPS
        if any(word.to_bytes(4, "little") in data for data in code)
    }
    comments = b"".join(section.data for section in old.sections if section.name == ".comment")
    plain = (
        power.GROUP_ENDING_NOPS[1] not in endings or b"clang" in comments or b"rustc" in comments
    )
    return Style(plain, frozenset((power.NOP, *(endings or power.GROUP_ENDING_NOPS))))


def may_become(code: Code, gap: Gap, filling: Sequence[int], end: int, made_of: Style) -> bool:
    """Whether the gap may be `filling` in OUT, with what follows at word `end`."""
    if not gap.length and not filling:
        return True
    if not _shaped(code, gap, filling, made_of.words) or not (
        gap.between or made_of.plain or not _ends_in_nop(code, gap, filling)
    ):
        return False
    alignment = 8
    ahead = {0, code.ahead.get(gap.end * 4, 0)}
    if gap.end * 4 in code.vectors.values():
        ahead.add(-gap.end * 4 % VECTOR)
    while alignment <= max(code.section.alignment, 8):
        fits = max(gap.length, len(filling)) * 4 < alignment
        if fits and any(
            (gap.end * 4 + a) % alignment == (end * 4 + a) % alignment == 0 for a in ahead
        ):
            return True
        alignment *= 2
    return False


def _ends_in_nop(code: Code, gap: Gap, filling: Sequence[int]) -> bool:
    """Whether a gap ends in a nop in IN or in OUT."""
    both = (code.words[gap.start : gap.end], filling)
    return any(words[-1] == power.NOP for words in both if words)


def _shaped(code: Code, gap: Gap, filling: Sequence[int], words: frozenset[int]) -> bool:
    if not filling:
        return True
    if gap.filler is not None:
        return all(word == gap.filler for word in filling)
    rest = filling
    if rest[0] >> 26 == power.I_FORM:
        if power.displacement(rest[0]) != len(filling) * 4:
            return False
        rest = rest[1:]
    if gap.between:
        return words.issuperset(rest)
    return all(word == power.NOP for word in rest[:-1]) and words.issuperset(rest[-1:])


def evident_alignment(code: Code, gap: Gap) -> int:
    """What the length of a gap shows that what follows is aligned to; 4 where it shows nothing.

    That is said only of gaps that no one runs through, behind a function's end (less wouldn't have
    needed as many words), and of XRay's sleds. Behind a section's end nothing follows.
    """
    if gap.end * 4 in code.exits:
        return 8
    is_shown = gap.between and gap.length and gap.start * 4 in code.ends
    if gap.filler is not None or not is_shown or gap.end * 4 == code.section.size:
        return 4
    alignment = 8
    while alignment <= code.section.alignment:
        if gap.length * 4 < alignment and gap.end * 4 % alignment == 0:
            return alignment
        alignment *= 2
    return 4
