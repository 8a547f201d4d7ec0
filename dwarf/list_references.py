"""Which lists an object's entries refer to: in which section, at which offset, for which unit.

A location list or a range list is named by a section offset, relocated in an object and plain in a
.dwo, or by an index into a table of offsets.  A .dwo of DWARF 4 counts the offsets of range lists
from DW_AT_GNU_ranges_base of the skeleton, for those lists stay in the object.

Source: DWARF 5, sections 3.1.1, 7.3.2, 7.5.5 (classes loclist and rnglist), 7.28; DWARF 4, section
7.5.4; "Separate DWARF Object Files" (the GCC project's design note) for the GNU attributes.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from dwarf import leb128
from dwarf.errors import Unsupported
from dwarf.forms import DW_FORM_loclistx, DW_FORM_rnglistx, number
from dwarf.info import (
    DW_AT_GNU_ranges_base,
    DW_AT_loclists_base,
    DW_AT_rnglists_base,
    base_of,
)
from dwarf.section import Change, Relocations, Section, Target
from dwarf.unit import ListUses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dwarf.info import Surveyed
    from dwarf.offset_map import OffsetMap
    from dwarf.unit import File


class Loose(NamedTuple):
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


class Lists(NamedTuple):
    """All references to lists: those into the file's own sections, those into the object's
    (.debug_ranges of DWARF 4 stays in the object), and the fields that aren't relocated.
    """

    own: list[ListUses]
    foreign: list[ListUses]
    loose: list[Loose]


_MASK = (1 << 64) - 1

_LISTS = {
    "locations": (".debug_loc", ".debug_loclists"),
    "ranges": (".debug_ranges", ".debug_rnglists"),
}
_BASES = {
    "locations": (DW_AT_loclists_base,),
    "ranges": (DW_AT_rnglists_base, DW_AT_GNU_ranges_base),
}


def list_uses(file: File, units: Sequence[Surveyed]) -> Lists:
    """Which lists the units of ``file`` refer to.  Raises `Unsupported`."""
    lists = Lists([], [], [])
    section, by_place = Section(0, "", b"", Relocations()), {}
    for surveyed in units:
        if surveyed.header.section != section.number:
            section = file.sections[surveyed.header.section]
            places = section.relocations.places
            # Thousands of look-ups follow; one bisection costs more than this does a relocation.
            by_place = dict(zip(places, range(len(places)), strict=True))
        _uses_of_unit(file, section, by_place, surveyed, lists)
    return lists


def _uses_of_unit(
    file: File, section: Section, by_place: Mapping[int, int], surveyed: Surveyed, lists: Lists
) -> None:
    offsets: dict[tuple[str, int, bool], array[int]] = {}
    views: dict[int, dict[int, int]] = {}
    for (kind, form, other, _), column in surveyed.columns.items():
        if kind == "viewed":
            seen = surveyed.columns["views", form, other, 0]
            named = _references(file, section, by_place, surveyed, "locations", form, column, lists)
            pairs = _references(file, section, by_place, surveyed, "views", other, seen, lists)
            if named.section != pairs.section or len(named.offsets) != len(pairs.offsets):
                raise Unsupported(section.name, column[0], "view numbers apart from their lists")
            seen_at = views.setdefault(named.section, {})
            seen_at.update(zip(named.offsets, pairs.offsets, strict=True))
            kind = "locations"
        elif kind in _LISTS:
            named = _references(file, section, by_place, surveyed, kind, form, column, lists)
        else:
            continue
        if named.offsets:
            group = offsets.setdefault((kind, named.section, named.foreign), array("Q"))
            group.extend(named.offsets)
    tables = {kind: _list_table(file, section, surveyed, kind) for kind in _LISTS}
    for kind, table in tables.items():
        if table is not None:
            offsets.setdefault((kind, table.section, False), array("Q"))
    for (kind, target, foreign), group in offsets.items():
        table = tables[kind]
        begin = table.offset if table and table.section == target and not foreign else None
        use = ListUses(
            surveyed.unit,
            "locations" if kind == "locations" else "ranges",
            target,
            group,
            views.get(target, {}),
            begin,
        )
        (lists.foreign if foreign else lists.own).append(use)


def _list_table(file: File, section: Section, surveyed: Surveyed, kind: str) -> Target | None:
    """Where the lists of one kind begin that a unit names by index.

    In a split file they begin behind the header of the section's first table (DWARF 5, section
    7.3.2.2: the contribution starts the section).
    """
    entry, header = surveyed.entry, surveyed.header
    explicit = base_of(file, section, entry, _BASES[kind], *_LISTS[kind])
    if explicit is not None or not file.split or header.sizes.version < 5:
        return explicit
    found = file.named(_LISTS[kind][1])
    if not found:
        return None
    return Target(found[0].number, 20 if header.sizes.offset_size == 8 else 12)


class _Named(NamedTuple):
    """Lists that values of one form name: in section number ``section``, at ``offsets``.

    ``foreign`` says that the section is one of the object that a split file belongs to.
    """

    section: int
    foreign: bool
    offsets: array[int]


def _references(
    file: File,
    section: Section,
    by_place: Mapping[int, int],
    surveyed: Surveyed,
    kind: str,
    form: int,
    column: array[int],
    lists: Lists,
) -> _Named:
    """The lists named by the values of ``form`` at the places in ``column``, in that order.

    ``by_place`` are the indices of the section's relocations.  Fields that aren't relocated are
    added to ``lists.loose``.
    """
    if form in (DW_FORM_loclistx, DW_FORM_rnglistx):
        return _by_index(file, section, surveyed, kind, column)
    relocations = section.relocations
    symbols, addends = relocations.symbols, relocations.addends
    values = relocations.symbol_values
    offsets = array("Q")
    seen: set[int] = set()
    foreign = False
    for place in column:
        index = by_place.get(place)
        if index is not None:
            symbol = symbols[index]
            seen.add(symbol)
            # Masked, a negative offset is found to be past the end below.
            offsets.append(values[symbol] + addends[index] & _MASK)
        elif file.split or surveyed.header.sizes.version >= 4:
            loose = _loose(file, section, surveyed, kind, place)
            lists.loose.append(loose)
            offsets.append(loose.target.offset & _MASK)
            seen.add(-1 - loose.target.section)
            foreign = loose.foreign
        # else a plain number: in an object a section offset in DW_FORM_data4 is relocated.
    sections = {relocations.symbol_sections[s] if s >= 0 else -1 - s for s in seen}
    if len(sections) > 1:
        raise Unsupported(section.name, column[0], f"one unit with {kind} in several sections")
    if not sections:
        return _Named(0, False, offsets)
    named = _Named(sections.pop(), foreign, offsets)
    if not foreign:
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


def _loose(file: File, section: Section, surveyed: Surveyed, kind: str, place: int) -> Loose:
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
        table = _list_table(file, section, surveyed, "locations")
        if table is None:
            raise Unsupported(section.name, place, "view numbers without location lists")
        target = Target(table.section, table.offset + value)
        return Loose(section.number, place, size, target, table.offset, False)
    names = _LISTS["ranges" if kind == "ranges" else "locations"]
    target = file.resolve(section, place, value, names[sizes.version >= 5])
    return Loose(section.number, place, size, target, 0, False)


def _by_index(
    file: File, section: Section, surveyed: Surveyed, kind: str, column: array[int]
) -> _Named:
    """The lists that are named by their index in a table of offsets (DWARF 5, section 7.28)."""
    table = _list_table(file, section, surveyed, kind)
    place = column[0]
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
    named = _Named(table.section, False, offsets)
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
    if new < 0 or new >> 8 * field.size:
        raise Unsupported(section.name, field.place, f"the new offset {new:#x} doesn't fit")
    return Change(field.place, field.place + field.size, new.to_bytes(field.size, "little"))
