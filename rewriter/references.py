"""Who names a place in code, and what for.

The problem: a no-op behind a call is its slot, and a run of no-ops in front of a label is padding,
unless somebody else has a claim to them: a static key that becomes a branch, a probe that a tracer
puts a trap on, a feature section that the kernel replaces, an entry that is patched.  Nothing in
the code says so.  Who has such a claim names the place in a section of its own, in the symbol table
or in an exception table.

The rule: everything in the object that names code is looked at once, whether it is loaded or not
(the notes of probes aren't), each addend in its own meaning.  Left out is what is understood and
names every other instruction anyway: unwind and debug information.

- What is *named* may be entered or patched there: it is no call's slot and no padding.
- What is *held* is patched as a whole, from a first to a last instruction: no padding either.
- A *return address* is named by tables that are known to hold nothing else: OCaml's frame tables.
  A no-op there is the slot of the call in front of it.
- An absolute address in data that nothing is known of is *unclear* when it names the word behind a
  call: a return address stays with the call and a label moves away from it.  A branch that is
  proved to read the address tells them apart.  The entry of a function is always a label, and so is
  what a variable that is declared in a function holds: GNU C has labels as values, and no way to
  write a return address.

Source: Linux, arch/powerpc/include/asm/feature-fixups.h, code-patching-asm.h (patch_site),
jump_label.h; SystemTap's <sys/sdt.h> (.note.stapsdt); GCC's manual, -fpatchable-function-entry and
"Labels as Values"; OCaml, asmcomp/emitaux.ml (emit_frames); 64-bit ELFv2 ABI, 3.4.1 (local entry
points), 3.5.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import compress
from typing import TYPE_CHECKING

from rewriter import elf, special_sections
from rewriter.analysis import References
from rewriter.relocation import TYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from rewriter.analysis import Place


def collect(
    obj: elf.Object, code: Collection[int], bases: Mapping[Place, int]
) -> dict[int, References]:
    """What names places in the code sections ``code``, by section number.

    ``bases`` are the offsets that base-relative addends count from, by the place of each (those
    that a branch was proved to use; special sections know their own).
    """
    collector = _Collector(obj, code, bases)
    for number, relocations in obj.relocations.items():
        if relocations.places and not special_sections.is_elsewhere(obj.sections[number]):
            collector.add(number, relocations)
    return {
        number: References(
            collector.named[number],
            collector.held[number],
            collector.returns[number],
            collector.unclear[number],
            collector.entries[number],
        )
        for number in code
    }


class _Collector:
    """The sets that `collect` fills, by section number."""

    def __init__(self, obj: elf.Object, code: Collection[int], bases: Mapping[Place, int]) -> None:
        self.obj = obj
        self.bases = bases
        self.named: dict[int, set[int]] = {number: set() for number in code}
        self.held: dict[int, set[int]] = {number: set() for number in code}
        self.returns: dict[int, set[int]] = {number: set() for number in code}
        self.unclear: dict[int, dict[int, Place]] = {number: {} for number in code}
        self.entries: dict[int, set[int]] = {number: set() for number in code}
        self.symbols_of_code: set[int] = set()
        self._holders: dict[int, tuple[list[int], list[int]]] | None = None
        symbols = obj.symbols
        for index, section in enumerate(symbols.sections):
            if section not in self.named:
                continue
            self.symbols_of_code.add(index)
            kind, value = symbols.infos[index] & 15, symbols.values[index]
            if kind == elf.STT_SECTION:
                continue
            self.named[section].add(value)
            if kind == elf.STT_FUNC or symbols.infos[index] >> 4 != elf.STB_LOCAL:
                self.entries[section].update((value, value + symbols.local_entry(index)))

    def add(self, number: int, relocations: elf.Relocations) -> None:
        """Collect what the relocations of section ``number`` name."""
        obj = self.obj
        header = obj.sections[number]
        is_code = bool(header.flags & elf.SHF_EXECINSTR)
        known = special_sections.describe(header.name)
        size = known.entry_size if known and known.meaning == "entry" else 0
        fields: dict[Place, Place] = {}
        for place, kind, section, spot in self._spots(relocations):
            offset = spot - (
                place % size if size else place - self.bases.get((number, place), place)
            )
            self.named[section].add(offset)
            if size:
                fields[place - place % size, place % size] = section, offset
            row = TYPES.get(kind)
            absolute = row is not None and row.addend == "target" and row.data_size
            if absolute and not is_code and known is None and offset not in self.entries[section]:
                holder = self._holder(number, place)
                if is_frame_table(holder):
                    self.returns[section].add(offset)
                elif not is_declared_in_a_function(holder):
                    self.unclear[section].setdefault(offset, (number, place))
        if known is not None and fields:
            self._hold(known, fields)

    def _spots(self, relocations: elf.Relocations) -> Iterator[tuple[int, int, int, int]]:
        """Place, type, section and symbol + addend of all relocations that name a spot in code."""
        symbols = self.obj.symbols
        own = relocations.symbols
        for index in compress(range(len(own)), map(self.symbols_of_code.__contains__, own)):
            kind = relocations.types[index]
            row = TYPES.get(kind)
            if row is None or row.addend in ("target", "place"):
                spot = symbols.values[own[index]] + relocations.addends[index]
                yield relocations.places[index], kind, symbols.sections[own[index]], spot

    def _hold(self, known: special_sections.Descriptor, fields: Mapping[Place, Place]) -> None:
        """Take what lies between the two ends of each range that an entry has."""
        ranges = dict(zip(known.code_fields[::2], known.code_fields[1::2], strict=False))
        for (entry, field), (section, start) in fields.items():
            end = fields.get((entry, ranges.get(field, -1)))
            if end is not None and end[0] == section:
                limit = min(end[1], self.obj.sections[section].size)
                self.held[section].update(range(max(start, 0), limit, 4))

    def _holder(self, section: int, place: int) -> str:
        """The name of the symbol that begins at ``place`` in a data section, or last before it.

        Nothing where that symbol has a size and ends before ``place``.
        """
        if self._holders is None:
            self._holders = {}
            symbols = self.obj.symbols
            by_section: dict[int, list[Place]] = {}
            for index, own in enumerate(symbols.sections):
                if own > 0 and symbols.type(index) != elf.STT_SECTION:
                    by_section.setdefault(own, []).append((symbols.values[index], index))
            for number, pairs in by_section.items():
                pairs.sort()
                self._holders[number] = [at for at, _ in pairs], [index for _, index in pairs]
        starts, indices = self._holders.get(section, ([], []))
        at = bisect_right(starts, place) - 1
        if at < 0:
            return ""
        size = self.obj.symbols.sizes[indices[at]]
        return self.obj.symbols.name(indices[at]) if not size or place < starts[at] + size else ""


def is_declared_in_a_function(name: str) -> bool:
    """Whether a compiler gives this name to a variable that is declared in a function.

    Two functions may have a variable of one name, so it is never the name in the source: GCC adds
    a number to it (``x.0``), clang the function (``f.x``), and both mangle it for C++.
    """
    return "." in name or name.startswith("_ZZ")


def is_frame_table(name: str) -> bool:
    """Whether the symbol ``name`` is a table of return addresses: OCaml's, for its collector."""
    return name.startswith("caml") and name.endswith("frametable")
