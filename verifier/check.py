"""The verification, from the top: decides whether one object is another plus nops.

The order matters only in that code is paired first, as everything else asks where code went, and
that relocations in debug sections are judged last, when every section has been paired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nopfix.verifier import (
    branches,
    code,
    container,
    distances,
    frames,
    indexes,
    label_tables,
    lines,
    lists,
    lsda,
    name_index,
    names,
    padding,
    pairing,
    regions,
    relocations,
    split,
    stale_tables,
    understood,
    units,
    vectors,
    walk,
)
from nopfix.verifier.elf import (
    SHT_GROUP,
    SHT_NOBITS,
    SHT_RELA,
    SHT_SYMTAB,
    Object,
    Section,
    Symbol,
    read,
)
from nopfix.verifier.fields import Fields
from nopfix.verifier.reader import Malformed
from nopfix.verifier.report import Difference, Findings, Report
from nopfix.verifier.source_lines import SourceLines
from nopfix.verifier.uses import Uses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EQUAL = frozenset(
    {
        ".debug_abbrev",
        ".debug_str",
        ".debug_line_str",
        ".debug_str_offsets",
        ".debug_macro",
        ".debug_macinfo",
        ".debug_weaknames",
        ".debug_gdb_scripts",
        ".debug_sup",
    }
)
_UNITS = (".debug_info", ".debug_types")
_LISTS = frozenset(
    {
        *(".debug_loclists", ".debug_loc", ".debug_rnglists", ".debug_ranges"),
        *(".debug_loclists.dwo", ".debug_loc.dwo", ".debug_rnglists.dwo"),
    }
)
_PUBNAMES = frozenset(
    {".debug_pubnames", ".debug_pubtypes", ".debug_gnu_pubnames", ".debug_gnu_pubtypes"}
)


def verify(
    old: bytes, new: bytes, *, need_slots: bool = False, dwo: tuple[bytes, bytes] | None = None
) -> Report:
    """Decide whether the object `new` is the object `old` plus nops.

    With `need_slots`, a call that should have a TOC-restore slot and has none is a difference too.
    `dwo`: the object's .dwo in IN and in OUT; without, nothing that is said there is looked at.
    Raises verifier.elf.Unreadable when one of them is no object that can be compared.
    """
    findings = Findings()
    before = read(old)
    after = read(new, like=before)
    beside = split.read_both(*dwo) if dwo else None
    if old == new and (beside is None or beside.old.raw == beside.new.raw):
        # Nothing has to be understood of what is as it was, but for the calls that lack a slot.
        findings.count("byte compared", len(old))
        if need_slots:
            found = names.references(before)[0]
            stale = stale_tables.Checker(before, after, found, findings)
            pair_code(before, after, names.collect(before, found), stale, findings, need_slots=True)
    elif container.check_headers(before, after, findings) and (
        beside is None or split.check(beside, findings)
    ):
        if beside is not None:
            before, after = split.beside(before, beside.old), split.beside(after, beside.new)
        _Verification(before, after, findings).run(need_slots)
    findings.differences = placed(before, findings.differences)
    return findings.report()


def placed(old: Object, differences: list[Difference]) -> list[Difference]:
    """The differences with the function and the source line of those that are in code of IN."""
    numbers: dict[str, list[int]] = {}
    for section in old.sections:
        if section.executable:
            numbers.setdefault(section.name, []).append(section.number)
    sources, result = SourceLines(old.raw), []
    for difference in differences:
        found = numbers.get(difference.section, [])
        if difference.old is not None and len(found) == 1:
            functions = regions.functions([s for s in old.symbols if s.section == found[0]])
            start = functions.at(difference.old)
            function = "" if start is None else functions.names[start]
            source = sources.at(found[0], difference.old)
            difference = difference._replace(function=function, source=source)
        result.append(difference)
    return result


def pair_code(
    old: Object,
    new: Object,
    named: Mapping[int, names.Names],
    stale: stale_tables.Checker,
    findings: Findings,
    *,
    need_slots: bool,
) -> tuple[dict[int, pairing.Pairing], bool]:
    """Pair all code that isn't as it was, and check what in it depends on offsets.

    `named` is what relocations name, by section (`names.collect`). Returns the pairings by section
    number, and whether all could be paired; where not, the difference is reported.
    """
    symbols, style, entered = _by_section(old), padding.style(old), lsda.landing_pads(old)
    # A slot that comes out of the padding behind a function changes no byte of code, but its size.
    resized = {a.section for a, b in zip(old.symbols, new.symbols, strict=False) if a != b}
    reads_vectors, complete = vectors.are_read(old), True
    pairings: dict[int, pairing.Pairing] = {}
    for section, counterpart in zip(old.sections, new.sections, strict=True):
        number = section.number
        same = number not in resized and _is_same(old, new, number)
        if not section.executable or (same and not need_slots):
            continue
        mine = symbols.get(number, []), named.get(number, names.NOTHING)
        found = code.examine(old, section, *mine, entered.get(number, frozenset()))
        if same:
            walk.missing_slots(found, findings)
            continue
        tables = stale.find(found)
        found = found.with_labels(target for table in tables for target in table.targets)
        found = vectors.added(found, *mine) if reads_vectors else found
        paired = walk.pair(found, counterpart, findings, style, need_slots=need_slots)
        complete &= paired is not None
        if paired is not None:
            pairings[number] = paired[0]
            branches.Checked(found, *paired, counterpart.data, findings).run()
            _check_places(found, paired[0], findings)
            stale.check(tables, paired[0])
    return pairings, complete


def _check_places(found: code.Code, paired: pairing.Pairing, findings: Findings) -> None:
    """Check what code reads that lies at a distance, or on a multiple."""
    distances.check_program_counter(found, paired, findings)
    vectors.check(found, paired, findings)


class _Verification:
    """The state of one verification: the pairings found so far."""

    def __init__(self, old: Object, new: Object, findings: Findings) -> None:
        self.old = old
        self.new = new
        self.findings = findings
        self.pairings: dict[int, pairing.AnyPairing] = {}
        found, labels = names.references(old)
        self.names = names.collect(old, found)
        self.stale = stale_tables.Checker(old, new, found, findings)
        self.tables = label_tables.find(old, new, found)
        for table in self.tables:
            number = table.base.number
            mine = self.names.get(number, names.NOTHING)
            self.names[number] = mine._replace(guesses=mine.guesses.union(table.targets))
        self.checker = relocations.Checker(old, new, self.pairings, labels, findings)
        self.fields: list[Fields] = []

    def run(self, need_slots: bool) -> None:
        """Check everything, or stop where code can't be paired: nothing else could be judged."""
        pairings, paired = pair_code(
            self.old, self.new, self.names, self.stale, self.findings, need_slots=need_slots
        )
        self.pairings.update(pairings)
        distances.check_numbers(self.old, pairings, self.findings)
        distances.check_absolute(self.old, pairings, self.findings)
        understood.check(self.old, self.pairings, self.findings)
        if not paired:
            return
        decoded = [s for s in self.old.sections if _is_debug(self.old, s)]
        handlers = self._frames(decoded)
        named = {handler.lsda.section for handler in handlers}
        tables = [s for s in self.old.sections if _is_lsda(s) or s.number in named]
        for section in tables:
            mine = [handler for handler in handlers if handler.lsda.section == section.number]
            self._decode(section, lambda fields, mine=mine: lsda.check(fields, mine))  # type: ignore[misc]
        self._debug(decoded)
        self._plain({section.number for section in tables + decoded})
        container.check_symbols(self.old, self.new, self.pairings, self.findings)
        for fields in self.fields:
            fields.judge()

    def _decode(
        self, section: Section, check: Callable[[Fields], Mapping[int, int] | None]
    ) -> None:
        """Run a decoder over a section, and keep its pairing when it gives one."""
        fields = Fields(self.checker, section)
        try:
            starts = check(fields)
        except Malformed as error:
            fields.differ("undecodable", None, None, str(error))
            return
        except Exception as error:
            # Damage can lead anywhere in what reads it; what it led to stands in the report.
            fields.differ("undecodable", None, None, f"{type(error).__name__}: {error}")
            return
        if starts is not None:
            self.pairings[section.number] = pairing.Known(
                len(fields.raw), len(fields.new_raw), starts
            )
        fields.close()
        self.fields.append(fields)

    def _frames(self, sections: list[Section]) -> list[frames.Handler]:
        handlers: list[frames.Handler] = []
        for section in sections:
            if _is_frames(self.old, section):

                def check(fields: Fields) -> dict[int, int]:
                    found, starts = frames.check(fields)
                    handlers.extend(found)
                    return starts

                self._decode(section, check)
        return handlers

    def _debug(self, sections: list[Section]) -> None:
        # Split units may lie beside their skeletons (clang -gsplit-dwarf=single), and come last.
        uses = Uses()
        own, of_split = (self._number(name) for name in (".debug_abbrev", ".debug_abbrev.dwo"))
        steps: list[tuple[Callable[[str], bool], Callable[[Fields], Mapping[int, int] | None]]] = [
            (_UNITS.__contains__, lambda fields: units.check(fields, own, uses)),
            (
                lambda name: name.removesuffix(".dwo") in _UNITS,
                lambda fields: units.check(fields, of_split, uses),
            ),
            (_LISTS.__contains__, lambda fields: lists.check(fields, uses)),
            (lambda name: name in (".debug_line", ".debug_line.dwo"), lines.check),
            (".debug_aranges".__eq__, indexes.check_aranges),
            (".debug_addr".__eq__, lambda fields: indexes.check_addresses(fields, uses)),
            (_PUBNAMES.__contains__, lambda fields: indexes.check_pubnames(fields, uses)),
            (".debug_names".__eq__, lambda fields: name_index.check(fields, uses)),
            (lambda name: name.removesuffix(".dwo") in _EQUAL, indexes.check_equal),
        ]
        left = {s.number: s for s in sections if not _is_frames(self.old, s)}
        for applies, check in steps:
            for section in list(left.values()):
                if applies(section.name):
                    self._decode(section, check)
                    del left[section.number]
        for section in left.values():
            # Not known: nothing in it may have changed, nor be in need of a change.
            self._decode(section, indexes.check_equal)

    def _number(self, name: str) -> int:
        """The number of the first section of that name; 0 where there is none."""
        numbers = (section.number for section in self.old.sections if section.name == name)
        return next(numbers, 0)

    def _plain(self, done: set[int]) -> None:
        """Sections that are neither code nor decoded: equal bytes, relocations that follow."""
        for section in self.old.sections:
            counterpart = self.new.sections[section.number]
            if section.number in done or section.type in (SHT_RELA, SHT_SYMTAB):
                if section.type == SHT_SYMTAB and section.size != counterpart.size:
                    container.check_bytes(section, counterpart, self.findings)
                continue
            if section.type == SHT_NOBITS:
                if section.size != counterpart.size:
                    container.check_bytes(section, counterpart, self.findings)
                continue
            if not section.executable:
                but = {
                    offset
                    for table in self.tables + self.stale.tables
                    if table.section == section.number
                    and label_tables.follows(table, counterpart, self.pairings)
                    for offset in table.offsets
                }
                self.findings.count("byte of a label table", len(but))
                container.check_bytes(section, counterpart, self.findings, but)
            pairs = relocations.pair(self.old, self.new, section, self.findings)
            if pairs is not None:
                self.checker.section(section, pairs)


def _by_section(old: Object) -> dict[int, list[Symbol]]:
    symbols: dict[int, list[Symbol]] = {}
    for symbol in old.symbols:
        symbols.setdefault(symbol.section, []).append(symbol)
    return symbols


def _is_same(old: Object, new: Object, number: int) -> bool:
    """Whether a section has the same bytes, and relocations at the same places, in both."""
    if old.sections[number].data != new.sections[number].data:
        return False
    before, after = old.relocations.get(number, ()), new.relocations.get(number, ())
    return [relocation.place for relocation in before] == [r.place for r in after]


def _is_lsda(section: Section) -> bool:
    return section.name.startswith(".gcc_except_table")


def _is_frames(obj: Object, section: Section) -> bool:
    return section.name == ".debug_frame" or frames.is_eh_frame(obj, section)


def _is_debug(obj: Object, section: Section) -> bool:
    """Whether a section is decoded: debug information, or unwind information by any name."""
    if section.type in (SHT_RELA, SHT_NOBITS, SHT_GROUP):
        return False
    return section.name.startswith(".debug_") or _is_frames(obj, section)


__all__ = ["Report", "verify"]
