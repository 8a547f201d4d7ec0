"""Pairing the words of a code section of IN with those of OUT.

Both sections are walked together. A word of IN pairs with the word of OUT that equals it, but for
the displacement of a PC-relative branch or prefixed instruction and the entries of switch tables,
which are checked afterwards (`branches`), when all offsets are known. OUT may have more in four
places, and only there; between them the two are equal word by word:

- a nop behind a `bl` that has no TOC-restore slot (`code`);
- padding that is longer or shorter than in IN (`padding`);
- the nop that keeps a prefixed instruction from crossing a 64-byte boundary (Power ISA 3.1, Book
  I, 1.6.3);
- a conditional branch that no longer reaches: the inverse over a `b`, or where there is no inverse,
  a branch to a `b`, with a `b` over that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nopfix.verifier import padding, power
from nopfix.verifier.code import words_of
from nopfix.verifier.pairing import Pairing, Seam
from nopfix.verifier.report import Findings, Insertion

if TYPE_CHECKING:
    from nopfix.verifier.code import Code
    from nopfix.verifier.elf import Section


class Unpaired(Exception):
    """The words can't be paired any further; the difference has been reported."""


def pair(
    code: Code, counterpart: Section, findings: Findings, style: padding.Style, *, need_slots: bool
) -> tuple[Pairing, dict[int, int]] | None:
    """Pair a code section of IN with its counterpart in OUT.

    Returns the pairing, and where the `b` of each expanded conditional branch is in OUT by the
    branch's offset in IN; None, with the difference reported, where that fails. `style`: what
    padding may be made of.
    """
    walk = _Walk(code, words_of(counterpart.data), findings, style, need_slots=need_slots)
    try:
        walk.run()
        walk.tail(counterpart.data)
    except Unpaired:
        return None
    walk.check_exact()
    data = code.regions.data_words
    paired = Pairing(code.section.size, counterpart.size, walk.seams, data)
    paired.loose += walk.loose
    return paired, walk.expanded


def missing_slots(code: Code, findings: Findings) -> None:
    """Report the calls of a section that is as it was which have no slot."""
    for index in sorted(code.calls):
        callee = code.lacks_slot(index + 1)
        if callee and code.is_entered(index):
            _missing(code, index, callee, findings)


def _missing(code: Code, index: int, callee: str, findings: Findings) -> None:
    _differ(code, findings, "call-slot", index * 4, None, f"the call of {callee} still has no slot")


def _differ(
    code: Code, findings: Findings, rule: str, old: int, new: int | None, text: str
) -> None:
    """Report a difference at a place of IN."""
    findings.differ(rule, code.section.name, old, new, text)


class _Walk:
    """The state of one walk: how far both sections are paired."""

    def __init__(
        self,
        code: Code,
        new: tuple[int, ...],
        findings: Findings,
        style: padding.Style,
        *,
        need_slots: bool,
    ) -> None:
        self.code = code
        self.old = code.words
        self.new = new
        self.old_shapes = power.shapes(code.words)
        self.new_shapes = power.shapes(new)
        self.findings = findings
        self.style = style
        self.need_slots = need_slots
        self.gaps: dict[int, list[padding.Gap]] = {}
        for gap in padding.gaps(code):
            self.gaps.setdefault(gap.start, []).append(gap)
        self.index = 0
        """Words of IN that are paired."""
        self.place = 0
        """Words of OUT that are paired."""
        self.seams = [Seam(0, 0, 0, 0, 0)]
        self.expanded: dict[int, int] = {}
        self.loose: list[range] = []

    def differ(self, rule: str, text: str) -> None:
        """Report a difference where the walk is."""
        _differ(self.code, self.findings, rule, self.index * 4, self.place * 4, text)

    def run(self) -> None:
        """Walk to the end of IN. Raises Unpaired."""
        for event in self._events():
            if event < self.index:
                continue
            self._equal_words(event)
            ret = self.place * 4
            self._slot()
            end = self.place * 4
            self._gap(ret, end)
            self._prefixed()
            self._detour()
        self._equal_words(len(self.old))

    def _events(self) -> list[int]:
        """Indices at which OUT may differ in more than a word."""
        code = self.code
        events = {index + 1 for index in code.calls if code.lacks_slot(index + 1)}
        events.update(self.gaps)
        for index, word in enumerate(self.old):
            if word >> 26 == power.PREFIX and code.is_prefixed(index):
                events.update((index - 1, index))
        events.update(self._without_inverse())
        events.discard(-1)
        return sorted(events)

    def _seam(self, ret: int, end: int, start: int, word: int | None) -> None:
        seam = Seam(self.index * 4, ret, end, start, word)
        if self.seams[-1].old == seam.old:
            # A slot, then padding: what ends here ends in front of the padding.
            before = self.seams.pop()
            seam = seam._replace(ret=before.ret, end=before.end)
        self.seams.append(seam)

    # Between the events

    def _equal_words(self, stop: int) -> None:
        """Pair word by word up to `stop`, but for branches that no longer reach."""
        while self.index < stop:
            count = stop - self.index
            index, place = self.index, self.place
            same = self.old_shapes[index:stop] == self.new_shapes[place : place + count]
            if not same:
                count = self._first_difference(count)
            self.index += count
            self.place += count
            if not same and self.index < stop:
                self._unequal()

    def _first_difference(self, count: int) -> int:
        """Words from here that are equal, or entries of tables."""
        old, new, index, place = self.old_shapes, self.new_shapes, self.index, self.place
        entries, distances = self.code.regions.entries, self.code.distances
        for step in range(count):
            if place + step >= len(new):
                return step
            if old[index + step] == new[place + step] or (index + step) * 4 in entries:
                continue
            if distances.isdisjoint((index + step - 1, index + step)):
                return step
        return count

    def _unequal(self) -> None:
        """The words here differ: a conditional branch was expanded, or they can't be paired."""
        index, place = self.index, self.place
        if place >= len(self.new):
            self.differ("pairing", "OUT ends here, IN goes on")
            raise Unpaired
        word, other = self.old[index], self.new[place]
        inverse = self._branch14(index) and power.inverted(word)
        if (
            inverse
            and place + 1 < len(self.new)
            and other == inverse & 0xFFFF0003 | 8
            and self.new[place + 1] & 0xFC000003 == 0x48000000
        ):
            self._expanded(2)
            return
        old_text = power.disassemble(word, index * 4)
        new_text = power.disassemble(other, place * 4)
        rule = "data-in-code" if index in self.code.regions.data_words else "pairing"
        self.differ(rule, f"IN has `{old_text}`, OUT has `{new_text}`")
        raise Unpaired

    def check_exact(self) -> None:
        """Words that look like branches and are data, or are filled by the linker, are equal."""
        code, seams = self.code, Pairing(self.code.section.size, 4 * len(self.new), self.seams)
        free = set(code.branches)
        for index in code.alike:
            place = seams.word(index * 4)
            if index in free or index * 4 in code.regions.entries or place is None:
                continue
            if index * 4 in self.expanded or self.old[index] == self.new[place // 4]:
                continue
            _differ(
                code,
                self.findings,
                "data-in-code" if index in code.regions.data_words else "pairing",
                index * 4,
                place,
                f"IN has {self.old[index]:#010x}, OUT has {self.new[place // 4]:#010x}",
            )

    # Slots

    def _slot(self) -> None:
        """The nop behind a call that has none in IN."""
        code, index = self.code, self.index
        callee = code.lacks_slot(index)
        if callee is None:
            return
        if self.place >= len(self.new) or self.new[self.place] != power.NOP:
            if self.need_slots and code.is_entered(index - 1):
                _missing(code, index - 1, callee, self.findings)
            if index < len(self.old) and self.old[index] == power.NOP:
                self.differ("call-slot", "the nop behind the call is gone")
            return
        self._check_unknown()
        self.findings.count("inserted nop")
        where = (code.section.name, index * 4, self.place * 4)
        self.findings.insertions.append(Insertion(*where, code.function(index * 4 - 4), callee))
        self.place += 1
        self._seam(self.place * 4 - 4, self.place * 4, self.place * 4, self.place * 4)

    def _check_unknown(self) -> None:
        """An address in data that may be a label or the call's return address: nobody can tell.

        It is a label where a branch may read it: where the function has one by CTR.
        """
        offset = self.index * 4
        if offset in self.code.unknown and not self.code.jumps_by_address(offset):
            self.differ(
                "call-slot",
                "data holds the address behind this call, as a label's or as its return address",
            )

    # Padding

    def _gap(self, ret: int, end: int) -> None:
        """Padding that begins here, perhaps none that gets some, and some behind that."""
        for gap in self.gaps.get(self.index, ()):
            place = self.place
            if gap.start == self.index:
                self._resize(gap, ret, end)
            if self.place != place:
                ret = end = self.place * 4

    def _resize(self, gap: padding.Gap, ret: int, end: int) -> None:
        code, new, place = self.code, self.new, self.place
        wanted = padding.wanted(code, gap, new, place)
        first = padding.first_no_op(code, gap)
        if first < gap.start:
            self.loose.append(range(4 * (place - gap.start + first), 4 * (place + wanted) + 1, 4))
        filling = new[place : place + wanted]
        if filling == self.old[gap.start : gap.end]:
            alignment = padding.evident_alignment(code, gap)
            if (place + wanted) * 4 % alignment:
                self.differ("padding", f"what follows was aligned to {alignment} and is no more")
            return
        if not padding.may_become(code, gap, filling, place + wanted, self.style):
            return
        self.findings.count("padding resized")
        if gap.length:
            # What is inside the padding has no counterpart.
            self._seam(ret, end, place * 4, None)
            self.index = gap.end
            ret = end = (place + wanted) * 4
        self.place += wanted
        self._seam(ret, end, self.place * 4, self.place * 4)

    def _prefixed(self) -> None:
        """The nop in front of a prefixed instruction came or went.

        A label of the instruction stays in front of the nop: gas binds it before it aligns.
        """
        new, index, place = self.new, self.index, self.place
        if self.code.is_prefixed(index):
            came = power.crosses_64_bytes(place * 4) and new[place : place + 1] == (power.NOP,)
            if came and self._same_prefixed(index, place + 1):
                self.place += 1
                self._seam(place * 4, place * 4, place * 4, place * 4 + 4)
                self.findings.count("padding resized")
            elif power.crosses_64_bytes(place * 4) and self._same_prefixed(index, place):
                self.differ("prefixed", "a prefixed instruction crosses a 64-byte boundary in OUT")
        elif (
            self.code.is_prefixed(index + 1)
            and self._is_nop_for_next(index)
            and self._same_prefixed(index + 1, place)
        ):
            at = place * 4
            self._seam(at, at, at, None)
            self.index += 1
            self._seam(at, at, at, at)
            self.findings.count("padding resized")

    def _same_prefixed(self, index: int, place: int) -> bool:
        """Whether word `place` of OUT begins the prefixed instruction of word `index` of IN."""
        old, new = self.old[index : index + 2], self.new[place : place + 2]
        if index not in self.code.distances or len(new) < 2:
            return old == new
        return power.prefixed_shape(*old) == power.prefixed_shape(*new)

    def _is_nop_for_next(self, index: int) -> bool:
        return (
            self.old[index] == power.NOP
            and power.crosses_64_bytes(index * 4)
            and index not in self.code.owned
            and index not in self.code.regions.data_words
        )

    # Branches that no longer reach

    def _branch14(self, index: int) -> bool:
        """Whether a word of IN is a `bc` that may be expanded, relocated or not."""
        word = self.old[index]
        return (
            word >> 26 == power.B_FORM
            and not word & 3
            and index not in self.code.regions.data_words
        )

    def _without_inverse(self) -> list[int]:
        """The conditional branches that have no inverse: those on CTR and a condition at once."""
        return [
            index
            for index in self.code.alike
            if self._branch14(index) and power.inverted(self.old[index]) is None
        ]

    def _detour(self) -> None:
        """OUT may have `bc X,.+8; b .+8; b target` for IN's `bc X,target`."""
        index, place, new = self.index, self.place, self.new
        if index >= len(self.old) or not self._branch14(index):
            return
        if (
            power.inverted(self.old[index]) is None
            and place + 2 < len(new)
            and new[place] == self.old[index] & 0xFFFF0003 | 8
            and new[place + 1] == 0x48000008
            and new[place + 2] & 0xFC000003 == 0x48000000
            and not (index + 1 < len(self.old) and self.old[index + 1] == 0x48000008)
        ):
            self._expanded(3)

    def _expanded(self, length: int) -> None:
        self.expanded[self.index * 4] = (self.place + length - 1) * 4
        self.findings.count("expanded branch")
        self.index += 1
        self.place += length
        at = self.place * 4
        self._seam(at, at, at, at)

    # The end

    def tail(self, data: bytes) -> None:
        """Bytes that are no whole word, and nothing left in OUT. Raises Unpaired."""
        code = self.code
        rest, new_rest = code.section.data[self.index * 4 :], data[self.place * 4 :]
        if rest != new_rest:
            self.differ(
                "pairing",
                f"the end of IN is reached, OUT has {len(new_rest)} bytes more (IN: {len(rest)})",
            )
            raise Unpaired
