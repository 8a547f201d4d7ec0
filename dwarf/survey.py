"""Debugging entries (.debug_info, .debug_types), stepped over: one pass that notes places.

An entry doesn't say where the next one begins, so all of them have to be read, and there are tens
of thousands.  Each abbreviation is compiled once into a short program: bytes to step over, and the
columns that note where something of interest lies (`dwarf.notes`).  An entry without anything of
interest and without anything of variable size costs one lookup and one addition.  Only entries with
DW_FORM_indirect, whose abbreviation doesn't tell their forms, are noted as a whole and read one
attribute at a time.

Nothing is changed here.  From the columns `dwarf.distances`, `dwarf.sides` and
`dwarf.list_references` take what they move.

Source: DWARF 5, section 7.5; DWARF 2 to 4, the same.  A unit's lists: `dwarf.unit`.
"""

from __future__ import annotations

from nopfix.dwarf import abbrev, addr, leb128
from nopfix.dwarf.encodings import (
    DW_AT_addr_base,
    DW_AT_GNU_addr_base,
    DW_AT_high_pc,
    DW_AT_low_pc,
    DW_FORM_addr,
    DW_FORM_indirect,
)
from nopfix.dwarf.entries import base_of, constant, entry_values, headers, unit_dwo_id, unit_entry
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import ADDRESSES, INDEXED_ADDRESSES, SIZES, Sizes, skip
from nopfix.dwarf.notes import OF_INTEREST, Indirect, no_columns, notes_of, taken
from nopfix.dwarf.numbers import number
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Target, discarded
from nopfix.dwarf.unit import AddressTable, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nopfix.dwarf.abbrev import Abbreviation
    from nopfix.dwarf.entries import Header, Value
    from nopfix.dwarf.notes import Columns, Note
    from nopfix.dwarf.section import Section
    from nopfix.dwarf.unit import File

_STEP, _BLOCK, _LEB128, _STRING, _INDIRECT, _BLOCK1, _BLOCK2, _, _BLOCK4 = range(9)
_STEPS: Mapping[object, int] = {
    "leb128": _LEB128,
    "block": _BLOCK,
    "string": _STRING,
    "indirect": _INDIRECT,
    "block1": _BLOCK1,
    "block2": _BLOCK2,
    "block4": _BLOCK4,
}

Step = tuple["Callable[[int], None] | None", int, int]
"""Note the place (or not), then move on: a kind of value, and the bytes that follow it."""


class Skeleton(Record):
    """What a split unit needs of its skeleton: its unit, and where the ranges of the split unit are
    that lie in the object (DW_AT_GNU_ranges_base, DW_AT_rnglists_base), or None.
    """

    unit: Unit
    ranges_base: Target | None


class Surveyed(Record):
    """A unit and where in it something of interest lies.

    ``entry`` holds the attributes of the unit's own entry by name; ``skeleton`` is what goes with a
    split unit, else None.
    """

    header: Header
    unit: Unit
    table: Mapping[int, Abbreviation]
    columns: Columns
    entry: Mapping[int, Value]
    skeleton: Skeleton | None


# -- abbreviations as programs --------------------------------------------------------------------


Program = tuple[int, tuple[Step, ...]]
"""How to step over an entry: bytes to the first step, and the steps."""


class _Programs(dict[int, Program]):
    """The programs of one table by abbreviation code, compiled when first met."""

    def __init__(
        self,
        table: Mapping[int, Abbreviation],
        sizes: Sizes,
        columns: Columns,
        section: str,
        shared: dict[tuple[object, ...], Program] | None,
    ) -> None:
        """``columns`` takes what the programs note; ``section`` is .debug_abbrev's name.

        ``shared`` keeps what was compiled for other tables: the units of a linked object have
        their tables apart, with much the same abbreviations in them.  Where there is one table
        nothing is shared, and looking would cost as much as compiling.
        """
        super().__init__({0: (0, ())})
        self._table = table
        self.sizes = sizes
        self._columns = columns
        self._section = section
        self._shared = shared
        self._fixed = {form: sizes.fixed(form) for form in SIZES}

    def __missing__(self, code: int) -> Program:
        abbreviation = self._table[code]
        indirect = DW_FORM_indirect in [form for _, form, _ in abbreviation.attributes]
        shared = None if indirect else self._shared
        if shared is None:
            program = self._compile(abbreviation, indirect)
        else:
            alike = self.sizes, abbreviation.tag, abbreviation.attributes
            program = shared.get(alike) or self._compile(abbreviation, indirect)
            shared[alike] = program
        self[code] = program
        return program

    def _compile(self, abbreviation: Abbreviation, indirect: bool) -> Program:
        fixed = self._fixed
        notes: Mapping[int, Sequence[Note]] = {}
        asked = indirect
        # The step that grows while values of fixed size follow it; the first one only steps over.
        note: Callable[[int], None] | None = None
        kind = behind = 0
        steps: list[Step] = []
        if indirect:
            steps.append((note, kind, behind))
            note = self._append(Indirect(abbreviation.code))
        for index, (name, form, _) in enumerate(abbreviation.attributes):
            if not asked and (name in OF_INTEREST or form in ADDRESSES):
                # What lies in front of the first such attribute is never noted.
                notes, asked = notes_of(abbreviation, self.sizes, self._section), True
            size = fixed[form]
            noted = notes.get(index, ()) if asked else ()
            for found in noted:
                steps.append((note, kind, behind))
                note, kind, behind = self._append(found), _STEP, 0
            if size is not None:
                behind += size
            else:
                if not noted:
                    steps.append((note, kind, behind))
                    note = None
                kind, behind = _variable(form)
        steps.append((note, kind, behind))
        return steps[0][2], tuple(steps[1:])

    def _append(self, note: Note) -> Callable[[int], None]:
        return note.column(self._columns).append


def _variable(form: int) -> tuple[int, int]:
    """The kind of step over a value of variable size, and the fixed bytes behind it."""
    size = SIZES[form]
    if size == "addrx_offset":
        return _LEB128, 4
    return _STEPS[size], 0


# -- reading the units ----------------------------------------------------------------------------


def survey(file: File, skeletons: Mapping[int, Skeleton]) -> dict[int, list[Surveyed]]:
    """Read every unit of ``file`` once: by section number, in the order of the units.

    ``skeletons`` are those of the object by DWO id, when ``file`` is a .dwo.  Raises `Unsupported`.
    """
    tables: dict[Target, dict[int, Abbreviation]] = {}
    attributes: dict[tuple[int, int], abbrev.Attribute] = {}
    programs: dict[tuple[Target, Sizes], _Programs] = {}
    shared: dict[tuple[object, ...], Program] = {}
    columns = no_columns()
    found: dict[int, list[Surveyed]] = {}
    for section in file.named(".debug_info", ".debug_types"):
        data = bytes(section.data)
        units = found[section.number] = []
        for header in headers(file, section):
            target = header.abbreviations
            abbreviations = file.sections.get(target.section)
            if abbreviations is None:
                raise Unsupported(section.name, header.offset, "a unit without abbreviations")
            if target not in tables:
                tables[target] = abbrev.parse(abbreviations, target.offset, attributes)
            table = tables[target]
            program = programs.get((target, header.sizes))
            if program is None:
                name = abbreviations.name
                others = shared if programs else None
                program = _Programs(table, header.sizes, columns, name, others)
                programs[target, header.sizes] = program
            _scan(data, header, program, section.name)
            noted = taken(columns)
            _note_indirect(data, header, table, noted, section.name)
            entry = unit_entry(data, header, table)
            skeleton = _skeleton(file, section, header, entry, skeletons)
            unit = _unit(file, section, header, entry, skeleton)
            units.append(Surveyed(header, unit, table, noted, entry, skeleton))
    return found


def _scan(data: bytes, header: Header, programs: _Programs, section: str) -> None:
    """Run the programs over the entries of one unit: the hot loop of this package.

    Measured on Linux 6.1's kernel/sched/core.o: 20,449 entries in 10 ms, all of `survey` included.
    """
    place, end = header.entries, header.end
    try:
        while place < end:
            code = data[place]
            place += 1
            if code >= 0x80:
                code, place = leb128.unsigned(data, place - 1)
            size, steps = programs[code]
            place += size
            for note, kind, size in steps:
                if note is not None:
                    note(place)
                if kind == _STEP:
                    place += size
                elif kind == _BLOCK:
                    length = data[place]
                    place += 1
                    if length >= 0x80:
                        length, place = leb128.unsigned(data, place - 1)
                    place += length + size
                elif kind == _LEB128:
                    begin = place
                    while data[place] >= 0x80:
                        place += 1
                    if place - begin >= leb128.LONGEST:  # who reads it later relies on its end
                        raise leb128.BadLeb128(begin)
                    place += size + 1
                elif kind == _STRING:
                    place = data.index(0, place) + 1 + size
                elif kind == _INDIRECT:
                    form, place = leb128.unsigned(data, place)
                    while form == DW_FORM_indirect:
                        form, place = leb128.unsigned(data, place)
                    place = skip(data, place, form, programs.sizes) + size
                else:
                    width = kind - _BLOCK1 + 1
                    place += width + number(data, place, width) + size
    except KeyError as error:
        raise Unsupported(section, place, f"no abbreviation or form {error}") from None
    except (IndexError, ValueError):
        raise Unsupported(section, place, "an entry without an end") from None
    if place != end:
        raise Unsupported(section, header.offset, "the last entry runs past the unit's end")


def _note_indirect(
    data: bytes,
    header: Header,
    table: Mapping[int, Abbreviation],
    columns: Columns,
    section: str,
) -> None:
    """Note what is of interest in entries with DW_FORM_indirect, whose forms only they tell."""
    for note, places in columns.indirect.items():
        abbreviation = table[note.code]
        for begin in places:
            try:
                values, _ = entry_values(data, begin, abbreviation, header.sizes)
            except (IndexError, ValueError):
                raise Unsupported(section, begin, "an entry without an end") from None
            attributes = tuple(abbrev.Attribute(v.name, v.form, v.implicit) for v in values)
            actual = abbreviation._replace(attributes=attributes)
            for index, notes in notes_of(actual, header.sizes, section).items():
                for found in notes:
                    found.column(columns).append(values[index].place)


def _skeleton(
    file: File,
    section: Section,
    header: Header,
    entry: Mapping[int, Value],
    skeletons: Mapping[int, Skeleton],
) -> Skeleton | None:
    """The skeleton that a unit of a .dwo belongs to."""
    if not file.split:
        return None
    dwo_id = unit_dwo_id(section, header, entry)
    if dwo_id is not None and dwo_id in skeletons:
        return skeletons[dwo_id]
    if dwo_id is None:
        # A type unit: it holds no addresses, or those of the only unit there is.
        return next(iter(skeletons.values())) if len(skeletons) == 1 else None
    raise Unsupported(
        section.name,
        header.offset,
        f"DWO id {dwo_id:#x}, which no unit of the object has",
        "give the .dwo that was written together with the object",
    )


def _unit(
    file: File,
    section: Section,
    header: Header,
    entry: Mapping[int, Value],
    skeleton: Skeleton | None,
) -> Unit:
    """What other sections need to know of the unit; see `dwarf.unit`."""
    sizes = header.sizes
    addresses = skeleton.unit.addresses if skeleton else None
    base = base_of(file, section, entry, (DW_AT_addr_base, DW_AT_GNU_addr_base), ".debug_addr")
    if base is not None:
        table = file.sections.get(base.section)
        if table is None or not table.name.startswith(".debug_addr"):
            raise Unsupported(section.name, header.offset, "DW_AT_addr_base outside .debug_addr")
        extent = addr.extent(table, base.offset, sizes)
        addresses = AddressTable(
            base.section,
            extent.end,
            base.offset,
            sizes.address_size,
            table.relocations,
            extent.header,
        )
    low = entry.get(DW_AT_low_pc)
    start = skeleton.unit.base if skeleton else None
    if low is not None and low.form == DW_FORM_addr:
        start = section.relocations.target(low.place)
        if start is None and DW_AT_high_pc in entry:
            start = discarded(section.data, low.place)
    elif low is not None and low.form in INDEXED_ADDRESSES and addresses is not None:
        start = addresses.target(constant(bytes(section.data), low))
        if start is None and DW_AT_high_pc in entry:
            start = Target(0, 0)
    return Unit(
        header.section,
        header.offset,
        sizes.version,
        sizes.offset_size,
        sizes.address_size,
        start,
        addresses,
    )
