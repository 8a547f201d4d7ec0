"""The way through: one object in, one object out.

`rewrite` reads like the list in docs/architecture.md: read the object, find the calls, cut data out
of code, resolve every indirect branch or refuse, plan the insertions, lay out, rewrite code,
rewrite unwind and debug sections, move symbols and relocations, write.  Every step takes values and
returns values; nothing of the input is changed in place.

Two of five objects of a kernel need nothing: what only the others need is imported where it is
used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from rewriter import calls, elf, instruction, units
from rewriter.analysis import NO_REFERENCES, OBJECT, RELOCATED_DATA
from rewriter.errors import Refusal
from rewriter.options import Insertion, Options, Report, Resized, Result, Table

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from dwarf.offset_map import OffsetMap
    from dwarf.section import Rewritten
    from rewriter import layout
    from rewriter.analysis import Analysis, Place, References, Region

DEFAULT_OPTIONS = Options()

Need = Literal["slot", "proof", "nothing"]
"""What a code section needs: something inserted, a proof that shows whether so, or neither."""


class Plan(NamedTuple):
    """What to insert: slots by section number (old offsets), and the call that each is for."""

    slots: Mapping[int, Sequence[int]]
    sites: Mapping[tuple[int, int], calls.CallSite]


class Code(NamedTuple):
    """One executable section: its words, what a sweep found, and the data in it."""

    number: int
    words: array[int]
    found: instruction.Instructions


def rewrite(
    data: bytes,
    options: Options = DEFAULT_OPTIONS,
    insertions: Iterable[tuple[int | str, int]] | None = None,
) -> Result:
    """Insert nops into the relocatable object ``data`` and move everything that this moves.

    ``insertions`` are the insertion points, as (section number or name, section offset in bytes);
    by default those that the calls without slot ask for.  An object that needs nothing comes back
    byte for byte.

    Raises `Refusal` when the object can't be rewritten with certainty.
    """
    obj = elf.read(data)
    refuse_intermediate_code(obj)
    if insertions is not None:
        insertions = list(insertions)
    needs = Needs(obj, options, insertions)
    if not needs.might_insert():
        return _unchanged(data)
    analysis, sections = take_apart(obj, needs.of)
    if insertions is None:
        plan = plan_calls(obj, sections, analysis, options)
    else:
        plan = plan_insertions(obj, sections, insertions)
    if not plan.slots:
        return _unchanged(data)
    layouts = lay_out(obj, sections, analysis, plan, options)
    maps = {number: found.map for number, found in layouts.items() if found.map}
    bases = base_relative(obj, analysis, maps, options)
    refuse_label_distances(obj, analysis, maps, options)
    contents = rewrite_code(obj, sections, analysis, layouts)
    rewritten, dwo = rewrite_dwarf(obj, maps, options)
    contents |= {number: new.data for number, new in rewritten.items()}
    contents |= move_references(obj, maps, rewritten, bases)
    from rewriter import compressed

    contents, headers = compressed.compress_again(obj, contents)
    new = elf.write(obj, contents, headers)
    return Result(new, make_report(obj, plan, analysis, layouts, contents, len(new)), dwo)


def refuse_intermediate_code(obj: elf.Object) -> None:
    """Raise `Refusal` for an object that holds nothing but the compiler's intermediate code."""
    if any(section.name.startswith(".gnu.lto_") for section in obj.sections):
        strings = obj.symbols.strings
        if b"\0__gnu_lto_slim\0" in strings:
            raise Refusal(
                "LTO object: it holds the compiler's intermediate code, no instructions",
                remedy="compile without -flto, or with -ffat-lto-objects",
            )


def code_sections(obj: elf.Object) -> list[int]:
    """The numbers of the sections that hold instructions."""
    return [
        section.number
        for section in obj.sections
        if section.flags & elf.SHF_EXECINSTR and section.type == elf.SHT_PROGBITS and section.size
    ]


class Needs:
    """What the code sections of an object need, every word taken as code, data included.

    Each answer is found when it is first asked for.
    """

    def __init__(
        self,
        obj: elf.Object,
        options: Options,
        insertions: Collection[tuple[int | str, int]] | None = None,
    ) -> None:
        """Of calls without slot, or of the caller's ``insertions`` where these are given."""
        self._obj = obj
        self._sections = code_sections(obj)
        self._selection = calls.Selection(options.only, options.exempt)
        self._functions = calls.functions_by_section(obj)
        self._referring: dict[int, References] | None = None
        self._known: dict[int, Need] = {}
        self._lacking: dict[int, bool] = {}
        if insertions is not None:
            named = {section for section, _ in insertions}
            for number in self._sections:
                is_named = named & {number, obj.sections[number].name}
                self._known[number] = "slot" if is_named else "nothing"

    def might_insert(self) -> bool:
        """False when it's certain without any proof that nothing is inserted."""
        if self._known:
            return True
        if any(self._lacks_slot(number) for number in self._sections):
            return True
        found = {self.of(number) for number in self._sections}
        if "slot" in found or "proof" not in found:
            return "slot" in found
        from rewriter import data_in_code

        contents = map(self._obj.contents, self._sections)
        return any(map(data_in_code.has_indirect_branches, contents))

    def of(self, number: int) -> Need:
        """What section ``number`` needs."""
        need = self._known.get(number)
        if need is None:
            need = self._known[number] = self._find(number)
        return need

    def _find(self, number: int) -> Need:
        if self._lacks_slot(number):
            return "slot"
        if not self._has_calls(number):
            return "nothing"
        # A no-op that somebody names or a branch leads to is no slot: look again, knowing who does.
        words = calls.code_words(self._obj, number)
        found = instruction.sweep(words, (), calls.filled(self._obj, number))
        entered = {target for _, target in found.branches}
        for place in found.prefixed:  # or data: then the word behind it may be a branch
            for word in words[(place >> 2) + 1 : (place >> 2) + 2]:
                entered.add(place + 4 + (instruction.branch_displacement(word) or 0))
        sites = list(self._sites(number, _with_entered(self._references(number), entered)))
        if _any_without_slot(sites):
            return "slot"
        doubtful = units.has_doubtful_slot(self._obj, number, words, sites, self._selection)
        return "proof" if doubtful else "nothing"

    def _references(self, number: int) -> References:
        if self._referring is None:
            calling = list(filter(self._has_calls, self._sections))
            self._referring = references_to(self._obj, calling, {})
        return self._referring[number]

    def _has_calls(self, number: int) -> bool:
        places = instruction.call_places(calls.code_words(self._obj, number))
        return next(places, None) is not None

    def _lacks_slot(self, number: int) -> bool:
        """Whether a call has no no-op behind it, whosever that is."""
        lacking = self._lacking.get(number)
        if lacking is None:
            sites = self._sites(number, NO_REFERENCES)
            lacking = self._lacking[number] = _any_without_slot(sites)
        return lacking

    def _sites(self, number: int, references: References) -> Iterator[calls.CallSite]:
        words = calls.code_words(self._obj, number)
        places = instruction.call_places(words)
        return calls.find(
            self._obj, number, words, places, self._functions, self._selection, references
        )


def _any_without_slot(sites: Iterable[calls.CallSite]) -> bool:
    return any(site.action in ("insert", "unclear") for site in sites)


def references_to(
    obj: elf.Object, sections: Collection[int], bases: Mapping[Place, int]
) -> dict[int, References]:
    """Who names places in the code ``sections``, by section number; landing pads count as named.

    ``bases`` are what base-relative addends count from (see `rewriter.references`).
    """
    if not sections:
        return {}
    from rewriter import references

    found = references.collect(obj, sections, bases)
    if any(section.name.startswith(".gcc_except_table") for section in obj.sections):
        from rewriter import dwarf_sections

        pads: dict[int, list[int]] = {}
        for site in dwarf_sections.landing_pads(obj):
            pads.setdefault(site.pad.section, []).append(site.pad.offset)
        for number, own in pads.items():
            if number in found:
                found[number] = _with_entered(found[number], own)
    return found


def _with_entered(references: References, entered: Iterable[int]) -> References:
    """``references`` and the offsets ``entered``, which something leads to."""
    return references._replace(named={*references.named, *entered})


def _prove_all(number: int) -> Need:
    """In the place of `Needs.of`: whatever it needs, it is to be proved."""
    return "proof"


def take_apart(
    obj: elf.Object, need: Callable[[int], Need] = _prove_all
) -> tuple[Analysis, list[Code]]:
    """Tell data from instructions in every code section and look at each instruction once.

    ``need`` says what each of them needs; what belongs to one that needs anything is proved.
    """
    from rewriter import data_in_code, function_prefix

    numbers = code_sections(obj)
    functions = calls.functions_by_section(obj)
    own_units = units.Units(obj, numbers, lambda number: need(number) != "nothing")
    analysis = data_in_code.analyse(obj, numbers, functions, own_units.need_proof)
    sections = []
    for number in numbers:
        words = calls.code_words(obj, number)
        data = [(region.start, region.end) for region in analysis.regions.get(number, ())]
        found = instruction.sweep(words, data, calls.filled(obj, number))
        own = functions.get(number, calls.NO_FUNCTIONS)
        if need(number) != "nothing":
            function_prefix.check(obj, number, words, found, own)
        sections.append(Code(number, words, found))
    return analysis, sections


def call_sites(
    obj: elf.Object, sections: Iterable[Code], analysis: Analysis, options: Options
) -> list[calls.CallSite]:
    """Every call of the object, with what is to be done about it."""
    functions = calls.functions_by_section(obj)
    selection = calls.Selection(options.only, options.exempt)
    calling = [section for section in sections if section.found.calls]
    referring = references_to(obj, [code.number for code in calling], analysis.base_relative)
    sites: list[calls.CallSite] = []
    for number, words, found in calling:
        targets = analysis.targets.get(number, ())
        entered = [*(branch.target for branch in found.branches), *targets]
        references = _with_entered(referring[number], entered)
        read = analysis.read_addresses.get(number, ())
        unclear = {
            offset: place
            for offset, place in references.unclear.items()
            if offset not in targets and not any(start <= offset < end for start, end in read)
        }
        references = references._replace(unclear=unclear)
        own = list(calls.find(obj, number, words, found.calls, functions, selection, references))
        _refuse_unclear(obj, own, references)
        _refuse_inline_data(
            obj, own, words, analysis.regions.get(number, ()), functions.get(number)
        )
        sites += own
    return sites


def _refuse_unclear(
    obj: elf.Object, sites: Iterable[calls.CallSite], references: References
) -> None:
    """Raise `Refusal` for the first of ``sites`` for which it matters who names what."""
    for site in sites:
        if site.action == "unclear":
            behind = site.place + 4
            name = obj.sections[site.section].name
            if behind in references.returns:
                raise Refusal(
                    f"a table of return addresses names the call of {site.callee}, which has no"
                    " no-op behind it",
                    section=name,
                    offset=site.place,
                    function=site.function,
                    remedy="put the no-op into the source, as the table's compiler does",
                )
            number, place = references.unclear[behind]
            raise Refusal(
                f"the address of the word behind the call of {site.callee}, in data: a return"
                f" address and a label ({name}+{behind:#x}) move differently, and nothing tells"
                " which it is",
                section=obj.sections[number].name,
                offset=place,
                remedy=f"leave this call alone (--exempt {site.callee}), or this file",
            )


def _refuse_inline_data(
    obj: elf.Object,
    sites: Iterable[calls.CallSite],
    words: Sequence[int],
    regions: Iterable[Region],
    functions: calls.Functions | None,
) -> None:
    """Raise `Refusal` for a call with data behind it, which whoever is called may read there.

    ``sites``, ``words``, ``regions`` and ``functions`` are those of one section.  What the compiler
    puts behind a call that doesn't come back is no such data: traceback and switch tables.
    """
    kinds = {region.start: region.kind for region in regions}
    for site in sites:
        behind = site.place + 4
        if site.action != "insert" or behind >= 4 * len(words):
            continue
        end = functions.end(site.place) if functions else None
        kind = kinds.get(behind, "unknown data" if words[behind >> 2] >> 26 == 0 else "")
        if kind in (RELOCATED_DATA, OBJECT, "unknown data") and (end is None or behind < end):
            raise Refusal(
                f"the call of {site.callee} has data behind it, which the callee may read there",
                section=obj.sections[site.section].name,
                offset=site.place,
                function=site.function,
                remedy=f"keep the data elsewhere, or leave the call alone (--exempt {site.callee})",
            )


def plan_calls(
    obj: elf.Object, sections: Iterable[Code], analysis: Analysis, options: Options
) -> Plan:
    """A slot behind every call that lacks one."""
    slots: dict[int, list[int]] = {}
    sites = {}
    for site in call_sites(obj, sections, analysis, options):
        if site.action == "insert":
            slots.setdefault(site.section, []).append(site.place + 4)
            sites[site.section, site.place + 4] = site
    return Plan(slots, sites)


def plan_insertions(
    obj: elf.Object, sections: Sequence[Code], insertions: Iterable[tuple[int | str, int]]
) -> Plan:
    """The caller's own insertion points, checked: each has to be an instruction boundary."""
    by_name = {obj.sections[code.number].name: code.number for code in sections}
    words = {code.number: code.words for code in sections}
    inside = {code.number: {place + 4 for place in code.found.prefixed} for code in sections}
    slots: dict[int, list[int]] = {}
    for section, offset in insertions:
        number = by_name.get(section, 0) if isinstance(section, str) else section
        if number not in words:
            raise Refusal(f"no code section {section!r} to insert into")
        if offset % 4 or not 0 < offset <= 4 * len(words[number]) or offset in inside[number]:
            raise Refusal(
                "not between two instructions",
                section=obj.sections[number].name,
                offset=offset,
                remedy="insert behind an instruction",
            )
        slots.setdefault(number, []).append(offset)
    return Plan(slots, {})


def lay_out(
    obj: elf.Object,
    sections: Sequence[Code],
    analysis: Analysis,
    plan: Plan,
    options: Options,
) -> dict[int, layout.Layout]:
    """The new layout of each section that something goes into."""
    from rewriter import layout, padding

    aligned = find_alignments(obj, sections, analysis, plan)
    styles = {
        section.number: padding.group_nop(section.words, aligned[section.number])
        for section in sections
    }
    default = next((s for s in styles.values() if s is not None), None) or _group_nop(
        obj, sections, analysis
    )
    return {
        section.number: layout.lay_out(
            section.words,
            plan.slots[section.number],
            aligned[section.number] if options.realign else (),
            section.found.branches,
            styles[section.number] or default,
            obj.sections[section.number].name,
        )
        for section in sections
        if section.number in plan.slots
    }


def find_alignments(
    obj: elf.Object, sections: Sequence[Code], analysis: Analysis, plan: Plan
) -> dict[int, list[layout.Alignment]]:
    """What was padded into place, by section number."""
    from rewriter import padding

    functions = calls.functions_by_section(obj)
    referring = references_to(obj, {section.number for section in sections}, analysis.base_relative)
    return {
        section.number: padding.find(
            section.words,
            section.found,
            functions.get(section.number, calls.NO_FUNCTIONS),
            analysis.regions.get(section.number, ()),
            analysis.targets.get(section.number, ()),
            referring[section.number],
            plan.slots.get(section.number, ()),
            obj.sections[section.number].alignment,
        )
        for section in sections
    }


def _group_nop(obj: elf.Object, sections: Iterable[Code], analysis: Analysis) -> int:
    """What ends padding when no section shows it: LLVM never ends it specially."""
    from rewriter import padding

    for header in obj.sections:
        if header.name == ".comment" and b"clang" in bytes(obj.contents(header.number)):
            return instruction.NOP
        if header.name == ".debug_str" and padding.tells_power9(obj.contents(header.number)):
            return instruction.NOP
    for section in sections:
        regions = analysis.regions.get(section.number, ())
        style = padding.newest_group_nop(section.words, regions)
        if style is not None:
            return style
    return padding.DEFAULT_GROUP_NOP


def base_relative(
    obj: elf.Object, analysis: Analysis, maps: Mapping[int, OffsetMap], options: Options
) -> dict[int, dict[int, int]]:
    """Base-relative addends, by section and place; refuses sections whose fields are unclear."""
    from rewriter import special_sections, unknown_sections

    selection = calls.Selection(options.only, options.exempt)
    unknown_sections.check(obj, maps)
    proved = dict(analysis.base_relative)
    special_sections.check(obj, maps, proved, options.plain_sections, selection)
    bases: dict[int, dict[int, int]] = {}
    for (section, place), base in (proved | special_sections.base_relative(obj, maps)).items():
        bases.setdefault(section, {})[place] = base
    return bases


def refuse_label_distances(
    obj: elf.Object, analysis: Analysis, maps: Mapping[int, OffsetMap], options: Options
) -> None:
    """Raise `Refusal` where a variable may hold the distance of two labels that changes."""
    from rewriter import dwarf_sections, label_distances

    functions = calls.functions_by_section(obj)
    scopes = dwarf_sections.scopes
    label_distances.check(obj, functions, analysis.differences, maps, lambda: scopes(obj, options))


def rewrite_code(
    obj: elf.Object,
    sections: Iterable[Code],
    analysis: Analysis,
    layouts: Mapping[int, layout.Layout],
) -> dict[int, bytes | bytearray | memoryview]:
    """The new bytes of each code section with a new layout, by section number.

    Data with numbers that are distances in such code is among them.
    """
    from rewriter import code

    maps = {number: new.map for number, new in layouts.items()}
    contents: dict[int, bytes | bytearray | memoryview] = {
        number: code.rewrite_numbers(
            obj.contents(number), differences, maps, obj.sections[number].name
        )
        for number, differences in analysis.differences.items()
        if number not in layouts and any(d.section in layouts for d in differences)
    }
    return contents | {
        section.number: code.rewrite(
            obj.contents(section.number),
            section.found,
            analysis.differences.get(section.number, ()),
            layouts[section.number],
            obj.sections[section.number].name,
        )
        for section in sections
        if section.number in layouts
    }


def rewrite_dwarf(
    obj: elf.Object, maps: Mapping[int, OffsetMap], options: Options
) -> tuple[dict[int, Rewritten], dict[str, bytes]]:
    """Unwind and debug sections, by section number, and the .dwo files that go with them."""
    from rewriter import dwarf_sections

    return dwarf_sections.rewrite(obj, maps, options)


def move_references(
    obj: elf.Object,
    maps: Mapping[int, OffsetMap],
    rewritten: Mapping[int, Rewritten],
    bases: Mapping[int, Mapping[int, int]],
) -> dict[int, bytes | bytearray | memoryview]:
    """The symbol table and the relocation sections that change, by section number."""
    from rewriter import moves

    every = dict(maps) | {number: new.map for number, new in rewritten.items() if new.map}
    sides = {number: new.sides for number, new in rewritten.items() if new.sides}
    copies = {number: new.copies for number, new in rewritten.items() if new.copies}
    asked = moves.Moves(every, sides, bases, copies)
    contents: dict[int, bytes | bytearray | memoryview] = {}
    symbols = moves.symbol_table(obj, every)
    if symbols is not None:
        contents[obj.symbol_table] = symbols
    moved_symbols = moves.moved_symbols(obj, every)
    emptied = {number for number, new in rewritten.items() if not new.data}
    for relocations in obj.relocations.values():
        if relocations.section in emptied:
            contents[relocations.table] = b""
            continue
        table = moves.relocation_table(obj, relocations, asked, moved_symbols)
        if table is not None:
            contents[relocations.table] = table
    return contents


def make_report(
    obj: elf.Object,
    plan: Plan,
    analysis: Analysis,
    layouts: Mapping[int, layout.Layout],
    contents: Mapping[int, bytes | bytearray | memoryview],
    new_size: int,
) -> Report:
    """What was done, in the user's terms."""
    insertions = []
    for number, offsets in plan.slots.items():
        name = obj.sections[number].name
        moved = layouts[number].map
        for offset in sorted(offsets):
            site = plan.sites.get((number, offset))
            caller, callee = (site.function, site.callee) if site else (None, None)
            insertions.append(Insertion(name, offset, moved.before(offset), caller, callee))
    tables = []
    for number, found in layouts.items():
        for region in analysis.regions.get(number, ()):
            start, size = region.start, region.end - region.start
            new = found.map.start(start)
            tables.append(Table(region.kind, obj.sections[number].name, start, new, size))
    expanded = [
        (obj.sections[number].name, branch.place)
        for number, found in layouts.items()
        for branch in found.expanded
    ]
    resized = [
        Resized(obj.sections[number].name, obj.sections[number].size, len(data))
        for number, data in sorted(contents.items())
        if obj.sections[number].size != len(data)
    ]
    return Report(insertions, tables, expanded, resized, len(obj.data), new_size)


def _unchanged(data: bytes) -> Result:
    return Result(data, Report([], [], [], [], len(data), len(data)), {})
