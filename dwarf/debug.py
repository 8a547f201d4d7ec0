"""All debug sections of one object, in the order in which their maps are needed.

The problem: debug sections point into one another, and any of them may grow.  Lists need the base
addresses that entries hold; entries hold the offsets of lists; expressions in lists refer to
entries; and an entry of .debug_addr can lie on one side of a slot only, whoever uses it.  The rule:

1. find: read every unit once (`survey.survey`), of the object and of its .dwo files;
2. move the lists, which need the base addresses of units and tell at which entries of .debug_addr
   something starts;
3. put call sites on their side of the slot, work out the new distances in entries, and with them
   where entries move; if any does, the lists' expressions may change: move them again;
4. write the entries, with the offsets of lists in them;
5. rewrite whatever else refers to entries or code.

A section whose name isn't in the table below is refused, not copied.

Source: DWARF 5, section 7.3 (which sections there are, and who points where); GCC's and LLVM's
documentation for the GNU sections.
"""

from __future__ import annotations

from nopfix.dwarf import (
    addr,
    distances,
    entries,
    list_references,
    pubnames,
    references,
    sides,
    survey,
)
from nopfix.dwarf.encodings import (
    DW_AT_comp_dir,
    DW_AT_dwo_name,
    DW_AT_GNU_dwo_name,
    DW_AT_GNU_ranges_base,
    DW_AT_rnglists_base,
)
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Rewritten, Target, splice
from nopfix.dwarf.unit import MovedEntries, file_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nopfix.dwarf import scopes
    from nopfix.dwarf.list_references import Loose
    from nopfix.dwarf.lists import Moved
    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Change, Section
    from nopfix.dwarf.survey import Skeleton, Surveyed
    from nopfix.dwarf.unit import File, ListUses

UNMOVED = frozenset(
    (
        ".debug_abbrev",  # abbreviations: no offsets
        ".debug_str",
        ".debug_line_str",
        ".debug_macinfo",  # DWARF 2 to 4: names, lines and file numbers
        ".debug_gdb_scripts",
    )
)
"""Sections without anything that moves, but for relocated fields."""

REFERRED_TO = frozenset(
    (
        *(".debug_info", ".debug_types", ".debug_abbrev", ".debug_line", ".debug_addr"),
        *(".debug_str", ".debug_line_str", ".debug_str_offsets", ".debug_macro", ".debug_macinfo"),
        *(".debug_loclists", ".debug_loc", ".debug_rnglists", ".debug_ranges"),
    )
)
"""Sections that other debug sections can't do without."""

_DONE_BEFORE = frozenset(
    (
        *(".debug_info", ".debug_types"),
        *(".debug_loclists", ".debug_loc", ".debug_rnglists", ".debug_ranges"),
    )
)


NO_SIZES: Mapping[Target, int] = {}


class Result(Record):
    """The sections that changed, by number: of the object, and of each split file as given."""

    own: dict[int, Rewritten]
    split: list[dict[int, Rewritten]]


class SplitName(Record):
    """A .dwo that a unit of the object names: its DWO id, name and compilation folder."""

    dwo_id: int
    name: str
    folder: str


class _Read(Record):
    """A file and what was found in its units; ``uses`` are by section number of the lists."""

    file: File
    units: Mapping[int, Sequence[Surveyed]]
    uses: Mapping[int, Sequence[ListUses]]
    loose: Sequence[Loose]


def rewrite(
    sections: Sequence[Section],
    maps: Mapping[int, OffsetMap],
    split: Sequence[Sequence[Section]] = (),
    sizes: Mapping[Target, int] = NO_SIZES,
) -> Result:
    """Rewrite the debug sections ``sections`` of one object for code moved by ``maps``.

    ``sections`` are all whose names begin with ``.debug_`` but .debug_frame, decompressed; ``maps``
    are by section number.  ``split`` holds the sections of each .dwo file that the object names,
    with numbers of their own.  ``sizes`` are the bytes of functions, by where they begin, as far
    as the caller knows them.  A section that isn't in the result stays as it is.

    Raises `Unsupported` for content or sections that aren't understood, where the object has
    skeleton units but not their split units, and for split units that don't fit its functions.
    """
    _refuse_rows_apart(sections)
    own, splits = _divide(sections, split)
    files = _read_files(own, splits)
    for read in files[1:]:
        for number, units in read.units.items():
            distances.check_lengths(read.file.sections[number], units, sizes)

    lists = [_move_lists(read, maps, {}) for read in files]
    started = {start for moved in lists for start in moved.starts}
    read_entries = [
        (read.file.sections[number], units)
        for read in files
        for number, units in read.units.items()
    ]
    for section, units in read_entries:
        started |= sides.starts(section, units)
    settled = sides.of_indices(read_entries, started, maps)
    indices = iter(settled.changes)
    layouts = [_lay_out(read, maps, indices) for read in files]
    for index, layout in enumerate(layouts):
        if moved := _maps(layout):
            lists[index] = _move_lists(files[index], maps, moved)

    object_lists = {number: new.map for number, new in lists[0].rewritten.items()}
    results = []
    split_units = _split_units(files[1:], layouts[1:])
    for read, layout, moved_lists in zip(files, layouts, lists, strict=True):
        moves = MovedEntries(_maps(layout), {} if read.file.split else split_units)
        rewritten = dict(moved_lists.rewritten)
        rewritten |= _write_entries(read, layout, rewritten, object_lists)
        rewritten |= _rewrite_others(read, moves, maps, settled)
        results.append(rewritten)
    if len(splits) > len(split):  # embedded
        results[0] |= results.pop()
    return Result(results[0], results[1:])


def _refuse_rows_apart(sections: Sequence[Section]) -> None:
    """Raise `Unsupported` for rows of a line table outside of .debug_line, which has the header."""
    for section in sections:
        if section.name.startswith(".debug_line.") and not section.name.endswith(".dwo"):
            from nopfix.dwarf import line

            found = "rows of the line table in a section of their own"
            raise Unsupported(section.name, None, found, line.APART)


def function_scopes(
    sections: Sequence[Section], split: Sequence[Sequence[Section]] = ()
) -> Iterator[scopes.Scope]:
    """Every function with labels, and its static variables; the arguments are those of `rewrite`.

    Raises `Unsupported`.
    """
    from nopfix.dwarf import scopes

    files, units = _read_units(*_divide(sections, split))
    for file, read in zip(files, units, strict=True):
        for number, found in read.items():
            for unit in found:
                yield from scopes.scopes(file.sections[number], unit)


def _divide(
    sections: Sequence[Section], split: Sequence[Sequence[Section]]
) -> tuple[list[Section], list[Sequence[Section]]]:
    """The object's own sections and those of each split file.

    clang's -gsplit-dwarf=single leaves the split sections in the object; they come last.
    """
    own = [section for section in sections if not section.name.endswith(".dwo")]
    embedded = [section for section in sections if section.name.endswith(".dwo")]
    return own, [*split, embedded] if embedded else [*split]


def _read_units(
    own: Sequence[Section], splits: Sequence[Sequence[Section]]
) -> tuple[list[File], list[Mapping[int, Sequence[Surveyed]]]]:
    """The units of an object and of its split files, by section number, file by file."""
    files = [file_of(own), *(file_of(sections, split=True) for sections in splits)]
    units: list[Mapping[int, Sequence[Surveyed]]] = [_with_table_ends(survey.survey(files[0], {}))]
    skeletons = _skeletons(files[0], units[0])
    units += [survey.survey(file, skeletons) for file in files[1:]]
    _check_complete(skeletons, files, units)
    return files, units


def _read_files(own: Sequence[Section], splits: Sequence[Sequence[Section]]) -> list[_Read]:
    """Read the units of an object and of its split files, and which lists they refer to."""
    files, units = _read_units(own, splits)
    lists = [
        list_references.list_uses(file, [unit for found in read.values() for unit in found])
        for file, read in zip(files, units, strict=True)
    ]
    uses: list[dict[int, list[ListUses]]] = [{} for _ in files]
    for found, by_section in zip(lists, uses, strict=True):
        for use in found.own:
            by_section.setdefault(use.section, []).append(use)
        for use in found.foreign:
            uses[0].setdefault(use.section, []).append(use)
    return [
        _Read(file, read, by_section, found.loose)
        for file, read, by_section, found in zip(files, units, uses, lists, strict=True)
    ]


def _with_table_ends(units: Mapping[int, list[Surveyed]]) -> dict[int, list[Surveyed]]:
    """The same units, with their tables in .debug_addr ending where the next one begins.

    Since DWARF 5 a header says where; before, several tables come about when objects are linked
    into one (``ld -r``).
    """
    tables = [
        unit.unit.addresses for found in units.values() for unit in found if unit.unit.addresses
    ]
    if all(table.header for table in tables):
        return dict(units)
    bases = [(table.section, table.base) for table in tables]

    def with_end(surveyed: Surveyed) -> Surveyed:
        table = surveyed.unit.addresses
        if table is None or table.header:
            return surveyed
        own = (base for section, base in bases if section == table.section)
        table = table._replace(end=addr.divide(table.base, table.end, own))
        return surveyed._replace(unit=surveyed.unit._replace(addresses=table))

    return {number: [with_end(unit) for unit in found] for number, found in units.items()}


class _Lists(Record):
    """The sections of lists of one file that changed, and where they start by index."""

    rewritten: Mapping[int, Rewritten]
    starts: frozenset[Target]


def _move_lists(
    read: _Read, maps: Mapping[int, OffsetMap], moved: Mapping[int, OffsetMap]
) -> _Lists:
    """Move the lists of one file; ``moved`` are the maps of sections whose entries moved."""
    rewritten = {}
    starts: set[Target] = set()
    for section in read.file.sections.values():
        name = section.name.removesuffix(".dwo")
        uses = read.uses.get(section.number, ())
        found: Moved
        if name in (".debug_loclists", ".debug_loc"):
            from nopfix.dwarf import loclists

            found = loclists.rewrite(section, uses, maps, references.mover(section, moved))
        elif name in (".debug_rnglists", ".debug_ranges"):
            from nopfix.dwarf import rnglists

            found = rnglists.rewrite(section, uses, maps)
        else:
            continue
        starts |= found.starts
        if found.rewritten is not None:
            rewritten[section.number] = found.rewritten
    return _Lists(rewritten, frozenset(starts))


def _lay_out(
    read: _Read, maps: Mapping[int, OffsetMap], indices: Iterator[Sequence[Change]]
) -> dict[int, references.Layout]:
    """The new distances of every section of entries, and what follows where they change sizes.

    ``indices`` gives the new indices of one section after the other.
    """
    layouts = {}
    for number, units in read.units.items():
        section = read.file.sections[number]
        changes = [*distances.changes(section, units, maps), *next(indices)]
        layouts[number] = references.lay_out(section, units, changes)
    return layouts


def _maps(layouts: Mapping[int, references.Layout]) -> dict[int, OffsetMap]:
    """The maps of those sections of entries that moved."""
    return {number: layout.map for number, layout in layouts.items() if layout.map}


def _split_units(
    files: Sequence[_Read], layouts: Sequence[Mapping[int, references.Layout]]
) -> dict[Target, tuple[OffsetMap, int]]:
    """By skeleton header, the split unit whose entries moved: see `MovedEntries`."""
    found = {}
    for read, layout in zip(files, layouts, strict=True):
        for number, units in read.units.items():
            section = read.file.sections[number]
            for unit in units:
                dwo_id = entries.unit_dwo_id(section, unit.header, unit.entry)
                if layout[number].map and unit.skeleton and dwo_id is not None:
                    skeleton = Target(unit.skeleton.unit.section, unit.skeleton.unit.offset)
                    found[skeleton] = (layout[number].map, unit.header.offset)
    return found


def _write_entries(
    read: _Read,
    layouts: Mapping[int, references.Layout],
    lists: Mapping[int, Rewritten],
    object_lists: Mapping[int, OffsetMap],
) -> dict[int, Rewritten]:
    """Write the sections of entries of one file; ``lists`` are its lists, rewritten."""
    own_lists = {number: new.map for number, new in lists.items()}
    loose: dict[int, list[Loose]] = {}
    for field in read.loose:
        loose.setdefault(field.section, []).append(field)
    rewritten = {}
    for number, layout in layouts.items():
        section = read.file.sections[number]
        offsets = [
            list_references.moved(section, field, object_lists if field.foreign else own_lists)
            for field in loose.get(number, ())
        ]
        changes = [*layout.changes, *(change for change in offsets if change)]
        entry_sides = sides.of_relocations(read.units[number])
        if changes or entry_sides:
            data, own = splice(section.data, changes)
            rewritten[number] = Rewritten(data, own, entry_sides)
    return rewritten


def _rewrite_others(
    read: _Read, moves: MovedEntries, maps: Mapping[int, OffsetMap], settled: sides.Settled
) -> dict[int, Rewritten]:
    """Rewrite what is neither entries nor lists in one file."""
    rewritten = {}
    for section in read.file.sections.values():
        name = section.name.removesuffix(".dwo")
        new = None
        if name in UNMOVED or name in _DONE_BEFORE:
            continue
        if name == ".debug_addr":
            own = settled.sides.get(section.number, {})
            added = list(settled.copies.get(section.number, ()))
            new = addr.rewrite(section, own, added, maps)
        elif name in pubnames.NAMES:
            new = pubnames.rewrite(section, read.file, moves)
        elif name == ".debug_names":
            from nopfix.dwarf import names

            new = names.rewrite(section, read.file, moves)
        else:
            new = _rewrite_by_code(section, name, maps)
        if new is not None:
            rewritten[section.number] = new
    return rewritten


def _rewrite_by_code(
    section: Section, name: str, maps: Mapping[int, OffsetMap]
) -> Rewritten | None:
    """Rewrite a section that needs nothing but the maps of code; ``name`` is without .dwo."""
    if name == ".debug_line":
        from nopfix.dwarf import line

        new = line.rewrite(section, maps)
        return None if new.data == section.data and not new.sides else new
    if name == ".debug_aranges":
        from nopfix.dwarf import aranges

        return aranges.rewrite(section, maps)
    if name == ".debug_macro":
        from nopfix.dwarf import macro

        return macro.rewrite(section, maps)
    if name == ".debug_str_offsets":
        from nopfix.dwarf import str_offsets

        return str_offsets.rewrite(section, maps)
    raise Unsupported(
        section.name,
        None,
        "a debug section that isn't known",
        "use --strip-unknown-debug to drop it",
    )


# -- split DWARF ----------------------------------------------------------------------------------


def _skeletons(file: File, units: Mapping[int, Sequence[Surveyed]]) -> dict[int, Skeleton]:
    """The skeleton units of an object by their DWO id."""
    found: dict[int, Skeleton] = {}
    for number, surveyed in units.items():
        section = file.sections[number]
        for unit in surveyed:
            dwo_id = entries.unit_dwo_id(section, unit.header, unit.entry)
            if dwo_id is None:
                continue
            if dwo_id in found:
                raise Unsupported(section.name, unit.header.offset, f"a second DWO id {dwo_id:#x}")
            names = (DW_AT_rnglists_base, DW_AT_GNU_ranges_base)
            lists = (".debug_ranges", ".debug_rnglists")
            base = entries.base_of(file, section, unit.entry, names, *lists)
            found[dwo_id] = survey.Skeleton(unit.unit, base)
    return found


def _check_complete(
    skeletons: Mapping[int, Skeleton],
    files: Sequence[File],
    units: Sequence[Mapping[int, Sequence[Surveyed]]],
) -> None:
    """Refuse an object whose split units aren't all there: their addresses would go stale."""
    present = {
        entries.unit_dwo_id(file.sections[number], unit.header, unit.entry)
        for file, read in zip(files[1:], units[1:], strict=True)
        for number, surveyed in read.items()
        for unit in surveyed
    }
    missing = [skeleton for dwo_id, skeleton in skeletons.items() if dwo_id not in present]
    if missing:
        raise Unsupported(
            ".debug_info",
            missing[0].unit.offset,
            "a skeleton unit whose .dwo file isn't there",
            "give it with --dwo, or compile without -gsplit-dwarf",
        )


def split_names(sections: Sequence[Section]) -> list[SplitName]:
    """The .dwo files that the units of an object name.  Raises `Unsupported`.

    A unit whose other half lies in the object itself names none: clang's -gsplit-dwarf=single
    gives it the object's own name.
    """
    parts = _divide(sections, ())
    file = file_of(parts[0])
    embedded = {
        entries.unit_dwo_id(section, header, entry)
        for split in parts[1]
        for section, header, entry in entries.unit_entries(file_of(split, split=True))
    }
    found = []
    for section, header, entry in entries.unit_entries(file):
        dwo_id = entries.unit_dwo_id(section, header, entry)
        if dwo_id is None or dwo_id in embedded:
            continue
        name = entry.get(DW_AT_dwo_name) or entry.get(DW_AT_GNU_dwo_name)
        folder = entry.get(DW_AT_comp_dir)
        found.append(
            SplitName(
                dwo_id,
                entries.text(file, section, header, entry, name) if name else "",
                entries.text(file, section, header, entry, folder) if folder else "",
            )
        )
    return found
