"""One object before and after, word by word: what `show.page` shows, as values.

Every word of a new code section is either an old one's, found by the section's map, or was put in:
a slot, padding, or the second branch of one that no longer reached.  Where the object is refused,
or needs nothing, new and old are the same.
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf.offset_map import IDENTITY
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter import pipeline
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.kpatch import sibling_calls, source_lines
from nopfix.rewriter.layout.needs import Needs
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.power import instruction, relocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.options import Options
    from nopfix.rewriter.pipeline import LaidOut
    from nopfix.rewriter.proof.analysis import IndirectBranch


class Line(Record):
    """A word of a code section.

    ``old`` and ``new`` are offsets in bytes, ``old`` None for what was put in.  ``kind`` is "code",
    "slot", "padding", "branch" (put in because another no longer reached), or what the data is.
    ``text`` is the instruction, ``before`` what it was where its bits changed.  ``leads_to`` is the
    new offset that a branch or a table's entry leads to, where that is in this section.
    """

    old: int | None
    new: int
    kind: str
    text: str
    before: str | None
    note: str
    leads_to: int | None
    source: str | None
    proof: IndirectBranch | None


class Function(Record):
    """The words from a function's start to the next one's, padding behind it included."""

    section: str
    name: str
    lines: list[Line]

    @property
    def slots(self) -> int:
        """How many slots were put in."""
        return sum(line.kind == "slot" for line in self.lines)


class Compared(Record):
    """An object before and after.

    ``sections`` are name, old size and new size in bytes of each; ``refusal`` is nopfix's line
    where it was refused.
    """

    refusal: str | None
    old_size: int
    new_size: int
    sections: list[tuple[str, int, int]]
    functions: list[Function]
    sibling_calls: list[str]


def compare(data: bytes, options: Options, disassemble: Callable[[int, int], str]) -> Compared:
    """Rewrite ``data`` and lay both side by side.

    ``disassemble`` gives the text of an instruction word at an offset.  Raises `Refusal` for what
    can't be read at all.
    """
    obj = elf.read(data)
    program = Program(obj)
    new_data, refusal, laid_out = data, None, None
    try:
        new_data = pipeline.rewrite(data, options).data
        laid_out = pipeline.lay_out(program, Needs(program, options), options)
        analysis = laid_out.analysis
        if not laid_out.layouts:
            analysis, _, _ = pipeline.take_apart(program)
            laid_out = laid_out._replace(analysis=analysis)
    except Refusal as error:
        refusal = str(error)
    new = elf.read(new_data)
    sections = [
        (old.name, old.size, now.size)
        for old, now in zip(obj.sections, new.sections, strict=True)
        if old.name
    ]
    sides = _Sides(program, Program(new), laid_out, disassemble)
    functions = [one for number in program.code for one in sides.functions(number)]
    siblings = sibling_calls.describe(data)
    return Compared(refusal, len(data), len(new_data), sections, functions, siblings)


class _Sides:
    """Both objects, and what is asked of them again and again."""

    def __init__(
        self,
        old: Program,
        new: Program,
        laid_out: LaidOut | None,
        disassemble: Callable[[int, int], str],
    ) -> None:
        """Index what goes by place."""
        self.old, self.new = old, new
        self.laid_out = laid_out
        self.disassemble = disassemble
        self.sources = source_lines.find(  # the line programs run once for all
            old.obj, {(n, at) for n in old.code for at in range(0, len(old.words(n)) * 4, 4)}
        )
        self.proofs = {}
        if laid_out is not None:
            self.proofs = {(one.section, one.offset): one for one in laid_out.analysis.branches}

    def functions(self, number: int) -> Iterator[Function]:
        """The functions of a section; words in front of the first have no name."""
        own = self.old.functions_in(number)
        lines = self.lines(number)
        moved = self.laid_out.maps().get(number, IDENTITY) if self.laid_out else IDENTITY
        starts = [moved.start(start) for start in own.starts]
        names = [own.at(start) or "" for start in own.starts]
        pieces: list[list[Line]] = [[] for _ in range(len(starts) + 1)]
        for line in lines:
            pieces[bisect_right(starts, line.new)].append(line)
        for name, piece in zip(["", *names], pieces, strict=True):
            if piece:
                yield Function(self.old.name(number), name, piece)

    def lines(self, number: int) -> list[Line]:
        """Every word of the new section."""
        old_words, new_words = self.old.words(number), self.new.words(number)
        moved, slots, regions, entries = self._laid_out(number)
        origin = {moved.place(place): place for place in range(0, len(old_words) * 4, 4)}
        notes = _notes(self.new, number)
        name = self.old.name(number)
        found = []
        for index, word in enumerate(new_words):
            place = index * 4
            old = origin.get(place)
            kind = regions.get(old, "code") if old is not None else _put_in(word, place in slots)
            leads_to = entries.get(place)
            if kind in ("code", "branch") and place not in notes:
                displacement = instruction.branch_displacement(word)
                leads_to = None if displacement is None else place + displacement
            text = self._text(word, place, kind)
            before = None
            if old is not None and old_words[old >> 2] != word:
                before = self._text(old_words[old >> 2], old, kind)
            source = None if old is None else self.sources.get((number, old))
            proof = None if old is None else self.proofs.get((name, old))
            note = notes.get(place, "")
            found.append(Line(old, place, kind, text, before, note, leads_to, source, proof))
        return found

    def _text(self, word: int, place: int, kind: str) -> str:
        if kind in ("code", "slot", "padding", "branch"):
            return self.disassemble(word, place)
        return f".long {word:#010x}"

    def _laid_out(
        self, number: int
    ) -> tuple[OffsetMap, set[int], Mapping[int | None, str], Mapping[int, int]]:
        """The section's map, the new places of slots, the kinds of data by old place, and where a
        table's entries lead, by new place.
        """
        if self.laid_out is None:
            return IDENTITY, set(), {}, {}
        moved = self.laid_out.maps().get(number, IDENTITY)
        slots = set()
        for place in self.laid_out.planned.slots.get(number, ()):
            slots.add(moved.before(place))
        analysis = self.laid_out.analysis
        regions: dict[int | None, str] = {
            place: region.kind
            for region in analysis.regions.get(number, ())
            for place in range(region.start, region.end, 4)
        }
        entries = {
            moved.place(one.place): moved.move(one.target, one.side)
            for one in analysis.differences.get(number, ())
            if one.section == number and regions.get(one.place) == "switch table"
        }
        return moved, slots, regions, entries


def _put_in(word: int, is_slot: bool) -> str:
    if is_slot:
        return "slot"
    return "padding" if instruction.branch_displacement(word) is None else "branch"


def _notes(program: Program, number: int) -> dict[int, str]:
    """What the relocations of a section say, by the place of the word that they lie in."""
    notes: dict[int, str] = {}
    symbols = program.obj.symbols
    for _, place, kind, symbol, target, offset in program.relocations_of(number):
        row = relocation.TYPES.get(kind)
        name, addend = symbols.name(symbol), offset - symbols.values[symbol]
        if not name and target > 0:
            name = program.name(target)
        text = f"{row.name if row else kind} {name}" + (f"{addend:+#x}" if addend else "")
        word = place & ~3
        notes[word] = f"{notes[word]}; {text}" if word in notes else text
    return notes
