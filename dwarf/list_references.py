"""Which lists an object's entries refer to: in which section, at which offset, for which unit.

A location list or a range list is named by a section offset, relocated in an object and plain in a
.dwo, or by an index into a table of offsets.  A .dwo of DWARF 4 counts the offsets of range lists
from DW_AT_GNU_ranges_base of the skeleton, for those lists stay in the object.  With DWARF 5 GCC 9
and 10 leave them there as well, and the index is one into the skeleton's table: all lists of such a
table are the skeleton's, which moves them.

Source: DWARF 5, sections 3.1.1, 7.3.2, 7.5.5 (classes loclist and rnglist), 7.28; DWARF 4, section
7.5.4; "Separate DWARF Object Files" (the GCC project's design note) for the GNU attributes.
"""

from __future__ import annotations

from array import array

from nopfix.dwarf import leb128
from nopfix.dwarf.encodings import (
    DW_AT_GNU_ranges_base,
    DW_AT_loclists_base,
    DW_AT_rnglists_base,
    DW_FORM_loclistx,
    DW_FORM_rnglistx,
)
from nopfix.dwarf.entries import base_of
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.numbers import changed, number
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Change, Section, Target
from nopfix.dwarf.unit import NO_VIEWS, ListUses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.survey import Surveyed
    from nopfix.dwarf.unit import File, ListKind

    Named = ListKind | Literal["views"]


class Loose(Record):
    """A field that holds the offset of a list and isn't relocated, as in all split files.

    It lies at ``place`` of section ``section`` and has ``size`` bytes; it points to ``target``, in
    the object that the split file belongs to where ``foreign`` is true, and counts from ``base``.
    """

    section: int
    place: int
    size: int
    target: Target
    base: int
    foreign: bool


class Lists(Record):
    """All references to lists: those into the file's own sections, those into the object's
    (.debug_ranges of DWARF 4 stays in the object), and the fields that aren't relocated.
    """

    own: list[ListUses]
    foreign: list[ListUses]
    loose: list[Loose]


class _Entries(Record):
    """The entries of one unit, in ``section`` of ``file``."""

    file: File
    section: Section
    surveyed: Surveyed


class _Named(Record):
    """Lists that values of one form name: in section number ``section``, at ``offsets``.

    ``loose`` are the fields among them that aren't relocated; ``foreign`` says that the section is
    one of the object that a split file belongs to.
    """

    section: int
    offsets: array[int]
    loose: Sequence[Loose] = ()
    foreign: bool = False


_MASK = (1 << 64) - 1

_LISTS: Mapping[Named, tuple[str, str]] = {
    "locations": (".debug_loc", ".debug_loclists"),
    "ranges": (".debug_ranges", ".debug_rnglists"),
    "views": (".debug_loc", ".debug_loclists"),
}
"""The sections of lists, before DWARF 5 and since; view numbers lie among location lists."""

_BASES: Mapping[Named, tuple[int, ...]] = {
    "locations": (DW_AT_loclists_base,),
    "ranges": (DW_AT_rnglists_base, DW_AT_GNU_ranges_base),
}
_KINDS: tuple[ListKind, ...] = ("locations", "ranges")


def list_uses(file: File, units: Sequence[Surveyed]) -> Lists:
    """Which lists the units of ``file`` refer to.  Raises `Unsupported`."""
    lists = Lists([], [], [])
    number = -1
    for surveyed in units:
        if surveyed.header.section != number:
            number = surveyed.header.section
            section = file.sections[number]
        found = _uses_of_unit(_Entries(file, section, surveyed))
        lists.own.extend(found.own)
        lists.foreign.extend(found.foreign)
        lists.loose.extend(found.loose)
    return lists


def _uses_of_unit(entries: _Entries) -> Lists:
    """The lists that one unit refers to, and that its tables hold."""
    columns = entries.surveyed.columns
    named: list[tuple[ListKind, _Named, array[int] | None]] = [
        (lists.kind, _references(entries, lists.kind, lists.form, places), None)
        for lists, places in columns.lists.items()
    ]
    loose: list[Loose] = []
    for viewed, (places, partners) in columns.viewed.items():
        lists = _references(entries, "locations", viewed.form, places)
        pairs = _references(entries, "views", viewed.views_form, partners)
        if lists.section != pairs.section or len(lists.offsets) != len(pairs.offsets):
            found = "view numbers apart from their lists"
            raise Unsupported(entries.section.name, places[0], found)
        named.append(("locations", lists, pairs.offsets))
        loose += pairs.loose
    groups: dict[tuple[ListKind, int, bool], tuple[array[int], array[int]]] = {}
    for kind, lists, views in named:
        loose += lists.loose
        if lists.offsets:
            key = (kind, lists.section, lists.foreign)
            group = groups.setdefault(key, (array("Q"), array("Q")))
            group[0].extend(lists.offsets)
            group[1].extend(views or array("Q", (NO_VIEWS,)) * len(lists.offsets))
    tables = {kind: _list_table(entries, kind) for kind in _KINDS}
    for kind, table in tables.items():
        if table is not None:
            groups.setdefault((kind, table.section, False), (array("Q"), array("Q")))
    result = Lists([], [], loose)
    for (kind, target, foreign), (offsets, views) in groups.items():
        table = tables[kind]
        begin = table.offset if table and table.section == target and not foreign else None
        unit = entries.surveyed.unit
        use = ListUses(unit, kind, target, offsets, views, begin)
        (result.foreign if foreign else result.own).append(use)
    return result


def _list_table(entries: _Entries, kind: ListKind) -> Target | None:
    """Where the lists of one kind begin that a unit names by index.

    In a split file they begin behind the header of the section's first table (DWARF 5, section
    7.3.2.2: the contribution starts the section).
    """
    file, section, surveyed = entries
    sizes = surveyed.header.sizes
    explicit = base_of(file, section, surveyed.entry, _BASES[kind], *_LISTS[kind])
    if explicit is not None or not file.split or sizes.version < 5:
        return explicit
    found = file.named(_LISTS[kind][1])
    if not found:
        return None
    return Target(found[0].number, 20 if sizes.offset_size == 8 else 12)


def _references(entries: _Entries, kind: Named, form: int, column: array[int]) -> _Named:
    """The lists named by the values of ``form`` at the places in ``column``, in that order."""
    if form in (DW_FORM_loclistx, DW_FORM_rnglistx):
        return _by_index(entries, kind, column)
    file, section, surveyed = entries
    relocations = section.relocations
    symbols, addends = relocations.symbols, relocations.addends
    values = relocations.symbol_values
    offsets = array("Q")
    loose: list[Loose] = []
    seen: set[int] = set()
    for place, index in zip(column, relocations.indices(column), strict=True):
        if index is not None:
            symbol = symbols[index]
            seen.add(symbol)
            # Masked, a negative offset is found to be past the end below.
            offsets.append(values[symbol] + addends[index] & _MASK)
        elif file.split or surveyed.header.sizes.version >= 4:
            field = _loose(entries, kind, place)
            loose.append(field)
            offsets.append(field.target.offset & _MASK)
        # else a plain number: in an object a section offset in DW_FORM_data4 is relocated.
    sections = {relocations.symbol_sections[symbol] for symbol in seen}
    sections.update(field.target.section for field in loose)
    if len(sections) > 1:
        raise Unsupported(section.name, column[0], f"one unit with {kind} in several sections")
    if not sections:
        return _Named(0, offsets)
    named = _Named(sections.pop(), offsets, loose, bool(loose) and loose[-1].foreign)
    if not named.foreign:
        _check(file, section, named)
    return named


def _check(file: File, section: Section, named: _Named) -> None:
    """Raise `Unsupported` for lists outside the sections of lists."""
    target = file.sections.get(named.section)
    if target is None or not target.name.startswith((".debug_loc", ".debug_r")):
        raise Unsupported(section.name, None, "a list outside the sections of lists")
    if max(named.offsets) >= len(target.data):
        found = f"a list at {target.name}+{max(named.offsets):#x}, past its end"
        raise Unsupported(section.name, None, found)


def _loose(entries: _Entries, kind: Named, place: int) -> Loose:
    """The field at ``place``, which isn't relocated."""
    file, section, surveyed = entries
    sizes, skeleton = surveyed.header.sizes, surveyed.skeleton
    size = sizes.offset_size
    value = number(section.data, place, size)
    if kind == "ranges" and file.split and sizes.version < 5:
        if skeleton is None or skeleton.ranges_base is None:
            raise Unsupported(section.name, place, "ranges in an object that has no base for them")
        base = skeleton.ranges_base
        target = Target(base.section, base.offset + value)
        return Loose(section.number, place, size, target, base.offset, True)
    if kind == "views" and file.split and sizes.version >= 5:
        # GCC counts them from the table, as if they were indexed; for lists it writes indices.
        table = _list_table(entries, "locations")
        if table is None:
            raise Unsupported(section.name, place, "view numbers without location lists")
        target = Target(table.section, table.offset + value)
        return Loose(section.number, place, size, target, table.offset, False)
    target = file.resolve(section, place, value, _LISTS[kind][sizes.version >= 5])
    return Loose(section.number, place, size, target, 0, False)


def _by_index(entries: _Entries, kind: Named, column: array[int]) -> _Named:
    """The lists that are named by their index in a table of offsets (DWARF 5, section 7.28)."""
    file, section, surveyed = entries
    table = _list_table(entries, "ranges" if kind == "ranges" else "locations")
    place = column[0]
    skeleton = surveyed.skeleton
    if table is None and kind == "ranges" and skeleton is not None and skeleton.ranges_base:
        return _Named(0, array("Q"))
    lists = file.sections.get(table.section) if table else None
    if table is None or lists is None:
        raise Unsupported(section.name, place, f"indexed {kind} in a unit without their table")
    size = surveyed.header.sizes.offset_size
    data = bytes(section.data)
    offsets = array("Q")
    try:
        count = number(lists.data, table.offset - 4, 4)
        for place in column:
            index, _ = leb128.unsigned(data, place)
            if index >= count:
                raise IndexError(index)
            offset = table.offset + number(lists.data, table.offset + index * size, size)
            offsets.append(offset & _MASK)
    except IndexError:
        raise Unsupported(
            section.name, place, f"indexed {kind} past the end of their table"
        ) from None
    named = _Named(table.section, offsets)
    _check(file, section, named)
    return named


def moved(section: Section, field: Loose, maps: Mapping[int, OffsetMap]) -> Change | None:
    """The new value of a field in ``section`` that holds the offset of a list.

    ``maps`` are those of the file that the list lies in.  Returns None when it stays.
    """
    lists = maps.get(field.target.section)
    if lists is None:
        return None
    new = lists.start(field.target.offset) - lists.start(field.base)
    if new == field.target.offset - field.base:
        return None
    return changed(section.name, field.place, field.place + field.size, new)
