"""Units and their entries, read one at a time: headers, attributes, the values of attributes.

An entry (.debug_info, .debug_types) begins with the code of its abbreviation, which says which
attributes follow in which forms.  Nothing says where the next entry begins, so entries are read in
order.  This is the plain way, for what is rare or short; `dwarf.survey` steps over all of them.

Source: DWARF 5, sections 7.5.1 (headers), 7.5.2 and 7.5.4 (entries and values), 7.26 (strings by
index); DWARF 2 to 4, the same.
"""

from __future__ import annotations

from nopfix.dwarf import abbrev, encodings, leb128
from nopfix.dwarf.encodings import (
    DW_AT_GNU_dwo_id,
    DW_AT_str_offsets_base,
    DW_FORM_implicit_const,
    DW_FORM_indirect,
    DW_FORM_line_strp,
    DW_FORM_sdata,
    DW_FORM_string,
    DW_FORM_strp,
    DW_UT_compile,
    DW_UT_skeleton,
    DW_UT_split_compile,
    DW_UT_split_type,
    DW_UT_type,
)
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import BLOCK_LENGTHS, SIZES, Sizes, skip
from nopfix.dwarf.numbers import initial_length, number
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nopfix.dwarf.abbrev import Abbreviation
    from nopfix.dwarf.section import Section
    from nopfix.dwarf.unit import File


class Header(Record):
    """A unit's header.

    ``offset``, ``entries`` (its first entry) and ``end`` are offsets in section ``section``;
    ``abbreviations`` points to its table; ``dwo_id`` is None where the header has none;
    ``type_offset`` is the place of that field in a type unit, else 0.
    """

    section: int
    offset: int
    entries: int
    end: int
    sizes: Sizes
    kind: int
    abbreviations: Target
    dwo_id: int | None
    type_offset: int


class Value(Record):
    """One attribute of one entry: DW_AT_*, DW_FORM_* (never indirect), and where its value lies.

    ``implicit`` is the value where the form is DW_FORM_implicit_const.
    """

    name: int
    form: int
    place: int
    end: int
    implicit: int


def headers(file: File, section: Section) -> Iterator[Header]:
    """The unit headers of .debug_info or .debug_types.  Raises `Unsupported`."""
    name, size = section.name, len(section.data)
    place = 0
    while place < size:
        header = _header(file, section, place)
        if header.entries > header.end:
            raise Unsupported(name, place, "a unit shorter than its header")
        yield header
        place = header.end


def _header(file: File, section: Section, offset: int) -> Header:
    data, name = section.data, section.name
    end, offset_size, place = initial_length(data, offset, name)
    try:
        version = number(data, place, 2)
        if not 2 <= version <= 5:
            # What a later standard's numbers mean is known once it is out.
            remedy = "compile with -gdwarf-5" if version > 5 else ""
            raise Unsupported(name, offset, f"DWARF version {version}", remedy)
        place += 2
        kind = DW_UT_compile
        if version == 5:
            kind, address_size = data[place], data[place + 1]
            abbreviations = place + 2
            place = abbreviations + offset_size
        else:
            abbreviations = place
            address_size = data[place + offset_size]
            place += offset_size + 1
            if name.startswith(".debug_types"):
                kind = DW_UT_type
        if address_size != 8:
            raise Unsupported(name, offset, f"addresses of {address_size} bytes")
        if not DW_UT_compile <= kind <= DW_UT_split_type:
            raise Unsupported(name, offset, f"unknown unit type {encodings.name('DW_UT', kind)}")
        dwo_id = None
        type_offset = 0
        if kind in (DW_UT_skeleton, DW_UT_split_compile):
            dwo_id = number(data, place, 8)
            place += 8
        elif kind in (DW_UT_type, DW_UT_split_type):
            type_offset = place + 8
            place = type_offset + offset_size
        value = number(data, abbreviations, offset_size)
    except IndexError:
        raise Unsupported(name, offset, "a unit header without an end") from None
    table = file.resolve(section, abbreviations, value, ".debug_abbrev")
    return Header(
        section.number,
        offset,
        place,
        end,
        Sizes(version, offset_size, address_size),
        kind,
        table,
        dwo_id,
        type_offset,
    )


def entry_values(
    data: bytes, place: int, abbreviation: Abbreviation, sizes: Sizes
) -> tuple[list[Value], int]:
    """The attributes of the entry whose first value is at ``place``, and the offset behind them.

    Raises IndexError or ValueError where a value has no end.
    """
    values = []
    for name, form, implicit in abbreviation.attributes:
        while form == DW_FORM_indirect:
            form, place = leb128.unsigned(data, place)
            if form not in SIZES or form == DW_FORM_implicit_const:
                raise ValueError(f"{encodings.name('DW_FORM', form)} behind DW_FORM_indirect")
        end = skip(data, place, form, sizes)
        values.append(Value(name, form, place, end, implicit))
        place = end
    return values, place


def walk(
    data: bytes, header: Header, table: Mapping[int, Abbreviation]
) -> Iterator[tuple[int, int, Abbreviation, list[Value]]]:
    """Every entry of a unit: (depth, offset of the first value, abbreviation, attributes).

    The slow way, for what is rare.  Raises IndexError, KeyError or ValueError.
    """
    place, depth = header.entries, 0
    while place < header.end:
        code, place = leb128.unsigned(data, place)
        if not code:
            depth -= 1
            continue
        abbreviation = table[code]
        values, end = entry_values(data, place, abbreviation, header.sizes)
        yield depth, place, abbreviation, values
        depth += abbreviation.children
        place = end


def constant(data: bytes, value: Value) -> int:
    """The number in an attribute of the class constant, or an index."""
    if value.form == DW_FORM_implicit_const:
        return value.implicit
    if value.form == DW_FORM_sdata:
        return leb128.signed(data, value.place)[0]
    if SIZES[value.form] == "leb128":
        return leb128.unsigned(data, value.place)[0]
    return number(data, value.place, value.end - value.place)


def block_start(data: bytes, value: Value) -> int:
    """Where the bytes of a block or an expression begin, behind the length."""
    width = BLOCK_LENGTHS.get(SIZES[value.form], 0)
    return value.place + width if width else leb128.skip(data, value.place)


def unit_entry(data: bytes, header: Header, table: Mapping[int, Abbreviation]) -> dict[int, Value]:
    """The attributes of the unit's own entry, as far as it has one.

    Raises IndexError, KeyError or ValueError where it has no end.
    """
    if header.entries == header.end:
        return {}
    code, place = leb128.unsigned(data, header.entries)
    if not code:
        return {}
    values, _ = entry_values(data, place, table[code], header.sizes)
    return {value.name: value for value in values}


def unit_entries(file: File) -> Iterator[tuple[Section, Header, dict[int, Value]]]:
    """The units of .debug_info with the attributes of their own entries, nothing else read."""
    for section in file.named(".debug_info"):
        data = bytes(section.data)
        for header in headers(file, section):
            abbreviations = file.sections.get(header.abbreviations.section)
            if abbreviations is None:
                raise Unsupported(section.name, header.offset, "a unit without abbreviations")
            table = abbrev.parse(abbreviations, header.abbreviations.offset)
            try:
                yield section, header, unit_entry(data, header, table)
            except (IndexError, KeyError, ValueError):
                raise Unsupported(section.name, header.entries, "an entry without an end") from None


def unit_dwo_id(section: Section, header: Header, entry: Mapping[int, Value]) -> int | None:
    """What ties a skeleton to its split unit: in the header since DWARF 5, else an attribute."""
    if header.dwo_id is None and DW_AT_GNU_dwo_id in entry:
        return constant(bytes(section.data), entry[DW_AT_GNU_dwo_id])
    return header.dwo_id


def base_of(
    file: File,
    section: Section,
    entry: Mapping[int, Value],
    names: Sequence[int],
    *sections: str,
) -> Target | None:
    """What the first attribute among ``names`` that the entry has points to."""
    for name in names:
        value = entry.get(name)
        if value is not None:
            number = constant(bytes(section.data), value)
            return file.resolve(section, value.place, number, *sections)
    return None


def text(
    file: File, section: Section, header: Header, entry: Mapping[int, Value], value: Value
) -> str:
    """The string that an attribute of a unit's own entry holds or refers to.

    Raises `Unsupported` where it isn't there.
    """
    data, form, place = bytes(section.data), value.form, value.place
    sizes = header.sizes
    source, offset = section, place
    try:
        if form != DW_FORM_string:
            field, width = section, sizes.offset_size
            if form not in (DW_FORM_strp, DW_FORM_line_strp):
                bases = (DW_AT_str_offsets_base,)
                base = base_of(file, section, entry, bases, ".debug_str_offsets")
                base = base or Target(file.named(".debug_str_offsets")[0].number, 0)
                field = file.sections[base.section]
                place = base.offset + constant(data, value) * width
            strings = ".debug_line_str" if form == DW_FORM_line_strp else ".debug_str"
            target = file.resolve(field, place, number(field.data, place, width), strings)
            source, offset = file.sections[target.section], target.offset
        found = bytes(source.data)
        return found[offset : found.index(0, offset)].decode("utf-8", "surrogateescape")
    except (IndexError, KeyError, ValueError):
        raise Unsupported(section.name, value.place, "a string that isn't there") from None
