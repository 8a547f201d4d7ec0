"""Pairing the words of a code section of IN with those of OUT.

Both sections are walked together. A word of IN pairs with the word of OUT that equals it, but
for the displacement of a PC-relative branch and the entries of switch tables, which are checked
afterwards, when all offsets are known. OUT may have more in four places, and only there:

- a nop behind a `bl` that has no TOC-restore slot;
- padding, before something aligned, that is longer or shorter than in IN, so that what follows is
  aligned as before; in the shapes that gas gives padding: nops, the last one perhaps
  `ori 2,2,0`, or a branch over nops;
- the nop that keeps a prefixed instruction from crossing a 64-byte boundary (Power ISA 3.1, Book
  I, 1.6.3);
- a conditional branch that no longer reaches: the inverse over a `b`, or where there is no inverse,
  a branch to a `b`, with a `b` over that.

The result answers where an offset of IN is in OUT. An offset with a slot or padding in front of
it is at several places at once; the question says which one is meant:

- `ret`: right behind the previous instruction: the return address;
- `end`: behind the inserted slot, before any padding: ends of functions and ranges;
- `start`: where the next thing begins: branch targets, functions, line rows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from verifier import power
from verifier.elf import STT_FUNC, Object, Section
from verifier.regions import Regions, find
from verifier.relocation_types import (
    DATA_WIDTH,
    R_PPC64_REL24,
    R_PPC64_REL24_NOTOC,
    R_PPC64_REL24_P9NOTOC,
)
from verifier.report import Findings, Insertion

GROUP_END = power.GROUP_ENDING_NOPS[1].to_bytes(4, "little")

_CALL_TYPES = (R_PPC64_REL24, R_PPC64_REL24_NOTOC, R_PPC64_REL24_P9NOTOC)

LOST = -1
"""Offset of something that has no counterpart: inside padding that changed size."""


class Pairing:
    """Where each offset of a section of IN is in OUT. Offsets and results are in bytes.

    `start`, `end` and `ret` hold one entry for each word of IN and one for the section's end.
    `word` is where the word itself went, which differs from `start` only for a prefixed
    instruction with an alignment nop before it.
    """

    identity = False

    def __init__(self, words: int, size: int, new_size: int) -> None:
        """Nothing paired yet; `words` of IN, `size` and `new_size` in bytes."""
        self.size = size
        self.new_size = new_size
        self.start_of = [LOST] * (words + 1)
        self.end_of = [LOST] * (words + 1)
        self.ret_of = [LOST] * (words + 1)
        self.word_of = [LOST] * (words + 1)

    def _look(self, column: list[int], offset: int) -> int | None:
        if not 0 <= offset <= self.size:
            return None
        index, rest = divmod(offset, 4)
        found = self.word_of[index] if rest else column[index]
        return None if found == LOST else found + rest

    def start(self, offset: int) -> int | None:
        """Where what begins at `offset` begins in OUT; None when it has no counterpart."""
        return self._look(self.start_of, offset)

    def end(self, offset: int) -> int | None:
        """Where the range that ends at `offset` ends in OUT."""
        return self._look(self.end_of, offset)

    def ret(self, offset: int) -> int | None:
        """Where the call that returns to `offset` returns to in OUT."""
        return self._look(self.ret_of, offset)

    def word(self, offset: int) -> int | None:
        """Where the byte at `offset` is in OUT: the place of a relocation."""
        return self._look(self.word_of, offset)


class Identity:
    """The pairing of a section that did not change."""

    identity = True

    def __init__(self, size: int) -> None:
        """`size` in bytes."""
        self.size = size
        self.new_size = size

    def start(self, offset: int) -> int | None:
        """The offset itself; so for the other three."""
        return offset

    end = ret = word = start


class Known:
    """The pairing of a section of tables: only the starts of its parts have a counterpart."""

    identity = False

    def __init__(self, size: int, new_size: int, starts: dict[int, int]) -> None:
        """`starts` maps offsets of IN to offsets of OUT."""
        self.size = size
        self.new_size = new_size
        self.starts = starts

    def start(self, offset: int) -> int | None:
        """Where the part that begins at `offset` begins in OUT."""
        return self.starts.get(offset)

    end = ret = word = start


Side = Callable[[int], int | None]


class Code(NamedTuple):
    """A code section of IN and its counterpart."""

    pairing: Pairing | Identity
    complete: bool
    """False when the words could not be paired to the end; the difference is reported."""


def pair(
    old: Object,
    new: Object,
    section: Section,
    references: frozenset[int],
    findings: Findings,
    *,
    need_slots: bool,
) -> Code:
    """Pair a code section of `old` with that of the same index in `new`, and check it.

    `references` are the offsets in the section that relocations refer to. Everything that is wrong
    with the section's own bytes is reported here: words, branches, switch tables, traceback
    tables, nops. With `need_slots`, a call that still lacks its slot is reported too.
    """
    counterpart = new.sections[section.number]
    if section.data == counterpart.data and _same_places(old, new, section.number):
        walk = _Walk(old, new, section, references, findings)
        walk.untouched(need_slots)
        return Code(Identity(section.size), True)
    walk = _Walk(old, new, section, references, findings)
    complete = walk.run(need_slots)
    if complete:
        walk.check_branches()
        walk.check_tables()
        walk.check_tracebacks()
    return Code(walk.pairing, complete)


def _same_places(old: Object, new: Object, index: int) -> bool:
    before, after = old.relocations.get(index, ()), new.relocations.get(index, ())
    return len(before) == len(after) and all(
        a.place == b.place for a, b in zip(before, after, strict=True)
    )


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])


class _Walk:
    """The state of one walk over a section of IN and of OUT."""

    def __init__(
        self,
        old: Object,
        new: Object,
        section: Section,
        references: frozenset[int],
        findings: Findings,
    ) -> None:
        self.old_object = old
        self.section = section
        self.findings = findings
        self.old = _words(section.data)
        self.new_data = new.sections[section.number].data
        self.new = _words(self.new_data)
        self.regions: Regions = find(old, section, self.old, references)
        self.pairing = Pairing(len(self.old), section.size, len(self.new_data))
        self.calls = {
            relocation.place: relocation
            for relocation in old.relocations.get(section.number, ())
            if relocation.type in _CALL_TYPES
        }
        self.function_starts = {}
        self.function_ends = set()
        for symbol in old.symbols:
            if symbol.section == section.number and symbol.type == STT_FUNC:
                self.function_starts[symbol.value] = symbol.name
                if symbol.size:
                    self.function_ends.add(symbol.value + symbol.size)
        self.labels = self._labels(references)
        self.widths = {
            relocation.place: DATA_WIDTH[relocation.type]
            for relocation in old.relocations.get(section.number, ())
            if relocation.type in DATA_WIDTH
        }
        self.fills_group = any(
            GROUP_END in other.data for other in old.sections if other.executable
        )
        """gas was told of a processor for which the last nop of padding ends a group."""
        self.expanded: dict[int, int] = {}
        """Offset of an expanded conditional branch in IN: offset of its `b` in OUT."""

    # What the walk needs to know of IN

    def _labels(self, references: frozenset[int]) -> set[int]:
        """Offsets that something refers to: padding never reaches across one."""
        labels = set(references)
        labels.update(self.function_starts)
        for symbol in self.old_object.symbols:
            if symbol.section == self.section.number and symbol.type != 3:
                labels.add(symbol.value)
        for index, word in enumerate(self.old):
            if self._is_free_branch(index, word):
                labels.add(index * 4 + power.displacement(word))
        for table in self.regions.tables:
            labels.update(table.targets)
            labels.add(table.start)
        return labels

    def _is_free_branch(self, index: int, word: int) -> bool:
        """A PC-relative branch whose displacement the assembler resolved."""
        return (
            power.is_relative_branch(word)
            and index not in self.regions.data_words
            and index * 4 not in self.regions.relocated
        )

    def _callee(self, index: int) -> str | None:
        """Name of the function that the word calls; None when it is not a call to a function."""
        word = self.old[index]
        if not power.is_call(word) or index in self.regions.data_words:
            return None
        relocation = self.calls.get(index * 4)
        if relocation is not None:
            if relocation.type != R_PPC64_REL24:
                return None
            name = self.old_object.symbol_name(relocation.symbol)
            return name + (f"+{relocation.addend:#x}" if relocation.addend else "")
        if index * 4 in self.regions.relocated:
            return None
        target = index * 4 + power.displacement(word)
        if target == index * 4 + 4:
            return None
        return self.function_starts.get(target, f"{self.section.name}+{target:#x}")

    def function_at(self, offset: int) -> str:
        """Name of the function that an offset of IN lies in, for messages."""
        best = max((start for start in self.function_starts if start <= offset), default=None)
        return "" if best is None else self.function_starts[best]

    def differ(self, rule: str, old: int, new: int | None, text: str) -> None:
        """Report a difference at a place of IN, naming the function."""
        function = self.function_at(old)
        self.findings.differ(
            rule, self.section.name, old, new, f"{text} (in {function})" if function else text
        )

    # The walk

    def untouched(self, need_slots: bool) -> None:
        """The section is as it was: only look for calls that lack their slot."""
        for index in range(len(self.old)):
            self._missing_slot(index + 1, need_slots)

    def _lacks_slot(self, index: int) -> str | None:
        """Callee of the call before word `index` of IN when it has no slot there."""
        callee = self._callee(index - 1) if index else None
        if callee is None or power.is_exempt(callee):
            return None
        if index < len(self.old) and index not in self.regions.data_words:
            word = self.old[index]
            if word == power.NOP and self._is_no_slot(index):
                return callee
            if word in power.SLOTS:
                return None
        return callee

    def _has_slot(self, index: int) -> bool:
        """Whether word `index` is the slot of the call before it, and so not padding."""
        return (
            index < len(self.old)
            and self.old[index] in power.SLOTS
            and self._callee(index - 1) is not None
            and not self._lacks_slot(index)
        )

    def _is_no_slot(self, index: int) -> bool:
        """True for a nop behind a call that can't be its slot.

        - Padding behind the function: whoever copies the function, as a live patch does, copies up
          to its st_size.
        - A nop that something leads to: entered from there, `ld r2,24(r1)` would load garbage; and
          the kernel's static branches patch such nops.
        - The nop that gas puts before a prefixed instruction that would cross a 64-byte boundary:
          it goes when the instruction moves.
        """
        offset = index * 4
        return (
            offset in self.function_ends
            or offset in self.labels
            or (
                power.crosses_64_bytes(offset)
                and index + 1 < len(self.old)
                and self.old[index + 1] >> 26 == power.PREFIX
                and index + 1 not in self.regions.data_words
            )
        )

    def _missing_slot(self, index: int, need_slots: bool) -> None:
        callee = self._lacks_slot(index)
        if callee and need_slots:
            self.differ("call-slot", index * 4 - 4, None, f"the call of {callee} still has no slot")

    def run(self, need_slots: bool) -> bool:
        """Pair all words. Returns False, with the difference reported, where that fails."""
        old, new, pairing = self.old, self.new, self.pairing
        index = place = 0
        while True:
            pairing.ret_of[index] = place * 4
            if index and self._lacks_slot(index):
                if place < len(new) and new[place] == power.NOP:
                    self._insertion(index, place)
                    place += 1
                else:
                    self._missing_slot(index, need_slots)
                    self._lost_slot(index, place)
            pairing.end_of[index] = place * 4
            if not (index and self._has_slot(index)):
                index, place = self._padding(index, place)
            if index == len(old):
                break
            step = self._word(index, place)
            if step is None:
                return False
            index += step[0]
            place += step[1]
        return self._tail(index, place)

    def _lost_slot(self, index: int, place: int) -> None:
        """IN had a nop behind the call, if only by chance; OUT has none."""
        if index < len(self.old) and self.old[index] == power.NOP:
            self.differ("call-slot", index * 4 - 4, place * 4, "the nop behind the call is gone")

    def _insertion(self, index: int, place: int) -> None:
        callee = self._callee(index - 1) or ""
        self.findings.count("inserted nop")
        self.findings.insertions.append(
            Insertion(
                self.section.name, index * 4, place * 4, self.function_at(index * 4 - 4), callee
            )
        )

    def _tail(self, index: int, place: int) -> bool:
        """The end of the section: bytes that are no whole word, and nothing left in OUT."""
        size, new_size = self.section.size, len(self.new_data)
        if self.section.data[index * 4 :] != self.new_data[place * 4 :]:
            self.differ(
                "pairing",
                index * 4,
                place * 4,
                f"the end of IN is reached, OUT has {new_size - place * 4} bytes more"
                f" (IN: {size - index * 4})",
            )
            return False
        self.pairing.start_of[index] = place * 4
        self.pairing.word_of[index] = place * 4
        return True

    # Padding

    def _run(self, words: tuple[int, ...], index: int, stop: int, *, old: bool) -> int:
        """Number of words of padding at `index`, at most up to `stop`."""
        end = index
        if (
            index < stop
            and words[index] >> 26 == power.I_FORM
            and not words[index] & 3
            and (not old or index * 4 not in self.regions.relocated)
            and index + 1 < stop
            and words[index + 1] == power.NOP
        ):
            end = index + 1
        while end < stop and power.is_padding(words[end]):
            end += 1
            if old and end * 4 in self.labels:
                break
        if end > index and words[index] >> 26 == power.I_FORM:
            over = index * 4 + power.displacement(words[index])
            if over != end * 4:
                return 0
        return end - index

    def _padding(self, index: int, place: int) -> tuple[int, int]:
        """Pair the padding at this point, where its size changed. Returns the new positions."""
        old, new, pairing = self.old, self.new, self.pairing
        length = 0
        if index not in self.regions.data_words:
            length = self._run(old, index, len(old), old=True)
        available = self._run(new, place, len(new), old=False)
        if length == 0 and available == 0:
            return index, place
        # A label inside the padding of IN cuts it; what is behind it stays as it is.
        behind = 0
        while index + length + behind < len(old) and power.is_padding(old[index + length + behind]):
            if index + length + behind in self.regions.data_words:
                break
            behind += 1
        wanted = available - behind
        if wanted == length and self._same_run(index, place, length):
            return index, place
        label = index + length
        if label < len(old) and label not in self.regions.data_words:
            nothing_between = label * 4 in self.labels or label * 4 in self.function_starts
        else:
            nothing_between = True
        prefixed = label < len(old) and old[label] >> 26 == power.PREFIX
        if wanted < 0:
            wanted = available
        if prefixed and label not in self.regions.data_words and abs(wanted - length) == 1:
            done = self._prefix_nop(index, place, length, wanted)
            if done:
                return done
        if not nothing_between:
            # No label: IN's nops are instructions, OUT's must be the same.
            return index, place
        if not self._keeps_alignment(index, place, length, wanted, label):
            return index, place
        self.findings.count("padding resized")
        if length:
            # What is inside the padding stays LOST.
            pairing.start_of[index] = place * 4
            pairing.ret_of[label] = pairing.end_of[label] = (place + wanted) * 4
        return label, place + wanted

    def _same_run(self, index: int, place: int, length: int) -> bool:
        return all(
            power.shape(self.old[index + k]) == power.shape(self.new[place + k])
            for k in range(length)
        )

    def _prefix_nop(
        self, index: int, place: int, length: int, wanted: int
    ) -> tuple[int, int] | None:
        """The nop before a prefixed instruction came or went.

        A label before the instruction stays before the nop: gas binds it before it aligns.
        """
        old, new, pairing = self.old, self.new, self.pairing
        more = wanted > length
        nop_at = (place + wanted - 1) if more else (index + length - 1)
        words = new if more else old
        if not power.crosses_64_bytes(nop_at * 4) or words[nop_at] != power.NOP:
            return None
        common = min(length, wanted)
        if not self._same_run(index, place, common):
            return None
        for k in range(common):
            pairing.start_of[index + k] = pairing.word_of[index + k] = (place + k) * 4
            pairing.ret_of[index + k + 1] = pairing.end_of[index + k + 1] = (place + k + 1) * 4
        if more:
            # The instruction is paired behind the nop; its label is before it.
            pairing.start_of[index + common] = (place + common) * 4
        else:
            gone = index + common
            pairing.start_of[gone] = (place + common) * 4
            pairing.ret_of[gone + 1] = pairing.end_of[gone + 1] = (place + common) * 4
        self.findings.count("padding resized")
        return index + length, place + wanted

    def _keeps_alignment(
        self, index: int, place: int, length: int, wanted: int, label: int
    ) -> bool:
        """Whether a change of padding from `length` to `wanted` words keeps what follows aligned.

        There must be an alignment that both amounts of padding satisfy with no word too many, that
        the section itself has, and that OUT's padding has gas's shape for.
        """
        old_at, new_at = label * 4, (place + wanted) * 4
        if length == 0 and not self._may_gain_padding(label):
            return False
        if not self._shaped_like_padding(index, place, length, wanted):
            return False
        alignment = 8
        while alignment <= max(self.section.alignment, 8):
            fits = length * 4 < alignment and wanted * 4 < alignment
            if fits and old_at % alignment == 0 and new_at % alignment == 0:
                return True
            alignment *= 2
        # At the section's end nothing follows but the alignment itself.
        return False

    def _may_gain_padding(self, label: int) -> bool:
        """Whether something that had no padding in IN can be known to be aligned."""
        offset = label * 4
        if offset in self.function_starts:
            return True
        width = self.widths.get(offset, 0)
        return width == 8 or (width == 0 and offset == self.section.size)

    def _shaped_like_padding(self, index: int, place: int, length: int, wanted: int) -> bool:
        """Whether gas pads like that: nops, the last perhaps group-ending, or a branch over nops.

        Where it ends groups, nops of IN that do not end one are instructions, not padding.
        """
        run = self.new[place : place + wanted]
        if self.fills_group and length and self.old[index + length - 1] == power.NOP:
            return False
        if not run:
            return True
        if self.fills_group and run[-1] == power.NOP:
            return False
        if run[0] >> 26 == power.I_FORM:
            over = power.displacement(run[0])
            if over != wanted * 4:
                return False
            run = run[1:]
        return all(word == power.NOP for word in run[:-1]) and (
            not run or power.is_padding(run[-1])
        )

    # One instruction

    def _word(self, index: int, place: int) -> tuple[int, int] | None:
        """Pair the instruction at `index`. Returns the words taken in IN and in OUT."""
        old, new, pairing = self.old, self.new, self.pairing
        if place >= len(new):
            self.differ("pairing", index * 4, place * 4, "OUT ends here, IN goes on")
            return None
        word, other = old[index], new[place]
        at = place * 4
        pairing.word_of[index] = at
        if pairing.start_of[index] == LOST:
            pairing.start_of[index] = at
        if index in self.regions.data_words:
            return self._data_word(index, place)
        if word >> 26 == power.PREFIX and index + 1 < len(old):
            return self._prefixed(index, place)
        if index * 4 in self.regions.relocated or not power.is_relative_branch(word):
            if word == other and not self._expanded_relocated(index, place):
                return 1, 1
        elif power.shape(word) == power.shape(other) and not self._detour(index, place):
            return 1, 1
        taken = self._expansion(index, place)
        if taken is None:
            self.differ(
                "pairing",
                index * 4,
                at,
                f"IN has `{power.disassemble(word, index * 4)}`,"
                f" OUT has `{power.disassemble(other, at)}`",
            )
            return None
        return 1, taken

    def _data_word(self, index: int, place: int) -> tuple[int, int] | None:
        """Data in code: table entries are checked later, other words must be equal."""
        if index * 4 in self._entries or self.old[index] == self.new[place]:
            return 1, 1
        self.differ(
            "data-in-code",
            index * 4,
            place * 4,
            f"IN has {self.old[index]:#010x}, OUT has {self.new[place]:#010x}",
        )
        return None

    @property
    def _entries(self) -> frozenset[int]:
        """Offsets of the words whose value depends on offsets."""
        if not hasattr(self, "_entries_cache"):
            entries = {
                table.start + 4 * k
                for table in self.regions.tables
                for k in range(len(table.targets))
            }
            for traceback in self.regions.tracebacks:
                if traceback.tb_offset_at is not None:
                    entries.add(traceback.tb_offset_at)
            self._entries_cache = frozenset(entries)
        return self._entries_cache

    def _prefixed(self, index: int, place: int) -> tuple[int, int] | None:
        """An 8-byte instruction: both words equal, and not across a 64-byte boundary."""
        if self.old[index : index + 2] != self.new[place : place + 2]:
            self.differ(
                "pairing",
                index * 4,
                place * 4,
                f"IN has the prefixed instruction {self.old[index]:08x} {self.old[index + 1]:08x},"
                " OUT has something else",
            )
            return None
        at = place * 4
        if power.crosses_64_bytes(at):
            self.differ(
                "prefixed",
                index * 4,
                at,
                "a prefixed instruction crosses a 64-byte boundary in OUT",
            )
        pairing = self.pairing
        pairing.start_of[index + 1] = pairing.end_of[index + 1] = at + 4
        pairing.ret_of[index + 1] = pairing.word_of[index + 1] = at + 4
        return 2, 2

    # Branches that no longer reach

    def _detour(self, index: int, place: int) -> bool:
        """True when OUT has `bc X,.+8; b .+8; b target` for IN's `bc X,target`."""
        old, new = self.old, self.new
        return (
            old[index] >> 26 == power.B_FORM
            and power.inverted(old[index]) is None
            and place + 2 < len(new)
            and new[place] & 0xFFFC == 8
            and new[place + 1] == 0x48000008
            and new[place + 2] & 0xFC000003 == 0x48000000
            and not (index + 1 < len(old) and old[index + 1] == 0x48000008)
        )

    def _expanded_relocated(self, index: int, place: int) -> bool:
        return index * 4 in self.regions.relocated and self._detour(index, place)

    def _expansion(self, index: int, place: int) -> int | None:
        """Words of OUT that stand for a conditional branch of IN that no longer reaches."""
        word, new = self.old[index], self.new
        if word >> 26 != power.B_FORM or word & 3:
            return None
        if self._detour(index, place):
            length = 3
        else:
            inverse = power.inverted(word)
            if inverse is None or place + 1 >= len(new):
                return None
            if new[place] != inverse & 0xFFFF0003 | 8:
                return None
            if new[place + 1] & 0xFC000003 != 0x48000000:
                return None
            length = 2
        self.expanded[index * 4] = (place + length - 1) * 4
        self.findings.count("expanded branch")
        return length

    # What depends on offsets

    def check_branches(self) -> None:
        """Every PC-relative branch leads to where its target went."""
        count = 0
        for index, word in enumerate(self.old):
            if not self._is_free_branch(index, word) or self.pairing.word_of[index] == LOST:
                continue
            offset = index * 4
            target = offset + power.displacement(word)
            place = self.expanded.get(offset, self.pairing.word_of[index])
            reached = place + power.displacement(self.new[place // 4])
            expected = self._target(offset, target)
            count += 1
            if expected is None:
                self.differ("branch", offset, place, f"its target {target:#x} has no counterpart")
            elif reached != expected:
                self.differ(
                    "branch",
                    offset,
                    place,
                    f"goes to {target:#x} in IN, so to {expected:#x} in OUT, but reaches"
                    f" {reached:#x}",
                )
        self.findings.count("branch", count)

    def _target(self, offset: int, target: int) -> int | None:
        if target == offset + 4 and self.old[offset // 4] & 1:
            # bcl 20,31,$+4 reads the address of the next instruction.
            return self.pairing.ret(target)
        return self.pairing.start(target)

    def check_tables(self) -> None:
        """Every entry of a switch table leads to where its target went."""
        for table in self.regions.tables:
            start = self.pairing.word(table.start)
            for number, target in enumerate(table.targets):
                offset = table.start + 4 * number
                place = self.pairing.word(offset)
                expected = self.pairing.start(target)
                if start is None or place is None or expected is None:
                    self.differ("switch-table", offset, place, "the entry has no counterpart")
                    continue
                (distance,) = struct.unpack_from("<i", self.new_data, place)
                if place != start + 4 * number or start + distance != expected:
                    self.differ(
                        "switch-table",
                        offset,
                        place,
                        f"entry {number} leads to {target:#x} in IN, so to {expected:#x} in OUT,"
                        f" but leads to {start + distance:#x}",
                    )
            self.findings.count("switch table entry", len(table.targets))

    def check_tracebacks(self) -> None:
        """tb_offset is the distance from the function's start to the traceback table."""
        for traceback in self.regions.tracebacks:
            self.findings.count("traceback table")
            if traceback.tb_offset_at is None:
                continue
            place = self.pairing.word(traceback.tb_offset_at)
            end = self.pairing.word(traceback.start)
            start = self.pairing.start(traceback.start - traceback.tb_offset)
            if place is None or end is None or start is None:
                self.differ("traceback", traceback.start, place, "has no counterpart")
                continue
            (distance,) = struct.unpack_from("<I", self.new_data, place)
            if distance != end - start:
                self.differ(
                    "traceback",
                    traceback.tb_offset_at,
                    place,
                    f"tb_offset is {distance:#x}, the function has {end - start:#x} bytes in OUT",
                )


__all__ = ["Code", "Identity", "Known", "Pairing", "Side", "pair"]
