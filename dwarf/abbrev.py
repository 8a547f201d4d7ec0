"""Abbreviations: the shapes of the entries in .debug_info.

A table of declarations, each of them a code, a tag, whether there are children, and attribute
names paired with forms; units name a table by its offset and entries name a declaration by its
code.  The only values in here are those of DW_FORM_implicit_const; where one of them would have to
change, every entry with that declaration would, so that is for `dwarf.distances` to refuse.

Source: DWARF 5, section 7.5.3.
"""

from __future__ import annotations

from nopfix.dwarf import encodings, leb128
from nopfix.dwarf.encodings import DW_FORM_implicit_const
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import SIZES
from nopfix.dwarf.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from nopfix.dwarf.section import Section


class Attribute(Record):
    """One attribute of a declaration.

    ``name`` and ``form`` are the numbers of DW_AT_* and DW_FORM_*; ``implicit`` is the value where
    the form is DW_FORM_implicit_const, else 0.
    """

    name: int
    form: int
    implicit: int


class Abbreviation(Record):
    """One declaration: ``offset`` in .debug_abbrev, ``code``, DW_TAG_* and attributes."""

    offset: int
    code: int
    tag: int
    children: bool
    attributes: tuple[Attribute, ...]


def parse(
    section: Section, offset: int, known: dict[tuple[int, int], Attribute] | None = None
) -> dict[int, Abbreviation]:
    """Read the table at ``offset`` of .debug_abbrev: declarations by code.

    The same few attributes come again and again, in linked objects in hundreds of tables:
    ``known`` keeps those of one table for the next; pass it in empty at first.

    Raises `Unsupported` for a table without an end, a code declared twice or an unknown form.
    """
    data = section.data
    known = {} if known is None else known
    table: dict[int, Abbreviation] = {}
    place = offset
    unsigned = leb128.unsigned
    try:
        while True:
            begin = place
            code, place = unsigned(data, place)
            if not code:
                return table
            if code in table:
                raise Unsupported(section.name, begin, f"abbreviation {code} is declared twice")
            tag, place = unsigned(data, place)
            children = data[place]
            place += 1
            attributes = []
            while True:
                at = place
                name, form = data[place], data[place + 1]
                if name < 0x80 and form < 0x80:  # nearly always
                    place += 2
                else:
                    name, place = unsigned(data, place)
                    form, place = unsigned(data, place)
                if not name and not form:
                    break
                attribute = known.get((name, form))
                if attribute is None:
                    if form not in SIZES:
                        found = f"unknown attribute form {encodings.name('DW_FORM', form)}"
                        raise Unsupported(section.name, at, found)
                    attribute = known[name, form] = Attribute(name, form, 0)
                if form == DW_FORM_implicit_const:
                    implicit, place = leb128.signed(data, place)
                    attribute = Attribute(name, form, implicit)
                attributes.append(attribute)
            table[code] = Abbreviation(begin, code, tag, children != 0, tuple(attributes))
    except (leb128.BadLeb128, IndexError):
        raise Unsupported(section.name, place, "a table of abbreviations without an end") from None
