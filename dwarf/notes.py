"""What is of interest in entries: values that say how far code reaches, or where a list lies.

In a relocatable object nearly everything in an entry that points elsewhere is relocated, and the
caller moves relocations.  What is left are the numbers that the assembler could resolve by itself:
DW_AT_high_pc as a length, DW_AT_entry_pc and DW_AT_start_scope as distances; and the *side* of some
relocations.  Let p be the offset behind a call, where a slot is inserted:

===========================================  =======  ==========================================
attribute                                    side     because
===========================================  =======  ==========================================
DW_AT_call_return_pc, and DW_AT_low_pc of a  before   debuggers look it up by the value that the
DW_TAG_GNU_call_site                                  link register had, which is p
DW_AT_high_pc                                after    the slot belongs to the call
any other address                            start    entering at the slot would restore r2 from a
                                                      stack word that nobody saved
===========================================  =======  ==========================================

Which attributes an entry has, and in which forms, its abbreviation tells; so `notes_of` is asked
once for each abbreviation, and says which values of an entry to note, and as what.  Each kind of
note has a type of its own here, and `Columns` keeps the places of what was noted.

Source: DWARF 5, sections 2.17, 3.3.8, 7.5.4, 7.5.5; DWARF 2 to 4, the same; for the GNU attributes
binutils' dwarf2.def.
"""

from __future__ import annotations

from array import array

from nopfix.dwarf import encodings as dw
from nopfix.dwarf.encodings import (
    DW_AT_GNU_locviews,
    DW_AT_high_pc,
    DW_AT_low_pc,
    DW_FORM_addr,
    DW_FORM_exprloc,
    DW_FORM_implicit_const,
    DW_FORM_indirect,
    DW_FORM_LLVM_addrx_offset,
)
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.forms import ADDRESSES, CONSTANTS
from nopfix.dwarf.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from typing import TypeVar

    from nopfix.dwarf.abbrev import Abbreviation
    from nopfix.dwarf.forms import Sizes
    from nopfix.dwarf.offset_map import Side
    from nopfix.dwarf.unit import ListKind

    K = TypeVar("K")

LOCATIONS = frozenset(
    (
        *(dw.DW_AT_location, dw.DW_AT_string_length, dw.DW_AT_return_addr),
        *(dw.DW_AT_data_member_location, dw.DW_AT_frame_base, dw.DW_AT_segment),
        *(dw.DW_AT_static_link, dw.DW_AT_use_location, dw.DW_AT_vtable_elem_location),
    )
)
"""Attributes that may name a location list."""

RANGES = frozenset((dw.DW_AT_ranges, dw.DW_AT_start_scope))
"""Attributes that may name a range list."""

CODE_ADDRESSES = frozenset(
    (DW_AT_low_pc, DW_AT_high_pc, dw.DW_AT_entry_pc, dw.DW_AT_call_return_pc, dw.DW_AT_call_pc)
)
"""Attributes that say where code is: as an address, or as one of `DISTANCES`."""

DISTANCES = frozenset((DW_AT_high_pc, dw.DW_AT_entry_pc, dw.DW_AT_start_scope))
"""Attributes that hold the distance of two addresses where their form is of the class constant."""

OF_INTEREST = CODE_ADDRESSES | DISTANCES | LOCATIONS | RANGES | {DW_AT_GNU_locviews}
"""Attributes that `notes_of` looks at whatever their form is."""

_NO_EXPRESSIONS = "compile without -mllvm -minimize-addr-in-v5=Expressions"
"""The only producer of addresses that are expressions: LLVM, asked for fewer relocations."""

_LIST_FORMS = frozenset((dw.DW_FORM_sec_offset, dw.DW_FORM_loclistx, dw.DW_FORM_rnglistx))
_OLD_LIST_FORMS = frozenset((dw.DW_FORM_data4, dw.DW_FORM_data8))


class Pairs(Record):
    """Values that go with another one of the same entry: columns of equal length.

    ``partners`` is empty where these values have none.
    """

    places: array[int]
    partners: array[int]


class Columns(Record):
    """Where what is of interest lies: section offsets, in the order of the entries.

    The partner of a distance is the entry's DW_AT_low_pc, that of a viewed list its view numbers.
    ``indirect`` has the first values of entries with DW_FORM_indirect.
    """

    addresses: dict[Address, array[int]]
    offsets: dict[AddressOffset, array[int]]
    distances: dict[Distance, Pairs]
    lists: dict[NamedList, array[int]]
    viewed: dict[ViewedList, Pairs]
    indirect: dict[Indirect, array[int]]


def no_columns() -> Columns:
    """Columns in which nothing is noted yet."""
    return Columns({}, {}, {}, {}, {}, {})


def taken(columns: Columns) -> Columns:
    """Take out what was noted: ``columns`` are kept, and empty afterwards."""
    return Columns(
        _taken(columns.addresses),
        _taken(columns.offsets),
        _taken_pairs(columns.distances),
        _taken(columns.lists),
        _taken_pairs(columns.viewed),
        _taken(columns.indirect),
    )


def _taken(group: dict[K, array[int]]) -> dict[K, array[int]]:
    result = {}
    for key, column in group.items():
        if column:
            result[key] = column[:]
            del column[:]
    return result


def _taken_pairs(group: dict[K, Pairs]) -> dict[K, Pairs]:
    result = {}
    for key, (places, partners) in group.items():
        if places:
            result[key] = Pairs(places[:], partners[:])
            del places[:], partners[:]
    return result


def _pairs() -> Pairs:
    return Pairs(array("Q"), array("Q"))


# -- one type for each kind of note ---------------------------------------------------------------


class Address(Record):
    """An address in ``form`` that is an index, or that is relocated and not on the start side."""

    form: int
    side: Side

    def column(self, columns: Columns) -> array[int]:
        """Where its places go."""
        return columns.addresses.setdefault(self, array("Q"))


class AddressOffset(Record):
    """An address in DW_FORM_LLVM_addrx_offset: a distance from an entry of .debug_addr."""

    side: Side

    def column(self, columns: Columns) -> array[int]:
        """Where its places go."""
        return columns.offsets.setdefault(self, array("Q"))


class Distance(Record):
    """A distance in ``form`` from DW_AT_low_pc, whose form is ``low_form`` (0 without one).

    ``attribute`` is one of `DISTANCES`; ``implicit`` is the value for DW_FORM_implicit_const.
    """

    attribute: int
    form: int
    low_form: int
    implicit: int

    def column(self, columns: Columns) -> array[int]:
        """Where its places go."""
        return columns.distances.setdefault(self, _pairs()).places


class LowPc(Record):
    """The DW_AT_low_pc that ``distance`` counts from."""

    distance: Distance

    def column(self, columns: Columns) -> array[int]:
        """Where its places go."""
        return columns.distances.setdefault(self.distance, _pairs()).partners


class NamedList(Record):
    """A list that a value of ``form`` names."""

    kind: ListKind
    form: int

    def column(self, columns: Columns) -> array[int]:
        """Where its places go."""
        return columns.lists.setdefault(self, array("Q"))


class ViewedList(Record):
    """A location list, named in ``form``, with view numbers, named in ``views_form``."""

    form: int
    views_form: int

    def column(self, columns: Columns) -> array[int]:
        """Where its places go."""
        return columns.viewed.setdefault(self, _pairs()).places


class Views(Record):
    """The view numbers of ``viewed`` (DW_AT_GNU_locviews)."""

    viewed: ViewedList

    def column(self, columns: Columns) -> array[int]:
        """Where its places go."""
        return columns.viewed.setdefault(self.viewed, _pairs()).partners


class Indirect(Record):
    """An entry with DW_FORM_indirect: only the entry itself tells its forms."""

    code: int

    def column(self, columns: Columns) -> array[int]:
        """Where its places go."""
        return columns.indirect.setdefault(self, array("Q"))


if TYPE_CHECKING:
    Note = Address | AddressOffset | Distance | LowPc | NamedList | ViewedList | Views | Indirect


# -- what to note ---------------------------------------------------------------------------------


def notes_of(abbreviation: Abbreviation, sizes: Sizes, section: str) -> dict[int, list[Note]]:
    """What to note of entries with this abbreviation, by the attribute's index.

    ``section`` is the name of .debug_abbrev, for errors.  Raises `Unsupported` for attributes that
    can't be what they should be.
    """
    attributes = abbreviation.attributes
    notes: dict[int, list[Note]] = {}
    low = next((i for i, a in enumerate(attributes) if a.name == DW_AT_low_pc), -1)
    low_form = attributes[low].form if low >= 0 else 0
    location = -1
    for index, (name, form, implicit) in enumerate(attributes):
        note: Note | None = None
        if form in ADDRESSES:
            note = _note_of_address(name, form, abbreviation.tag)
        elif name in DISTANCES and is_constant(form):
            if low < 0 and name == DW_AT_high_pc:
                found = "DW_AT_high_pc as a length without DW_AT_low_pc"
                raise Unsupported(section, abbreviation.offset, found)
            note = Distance(name, form, low_form, implicit)
            if low >= 0:
                notes.setdefault(low, []).append(LowPc(note))
        elif name in CODE_ADDRESSES and form != DW_FORM_indirect:
            found = f"{dw.name('DW_AT', name)} in {dw.name('DW_FORM', form)}, which is no address"
            remedy = _NO_EXPRESSIONS if form == DW_FORM_exprloc else ""
            raise Unsupported(section, abbreviation.offset, found, remedy)
        elif name in LOCATIONS and _names_list(name, form, sizes):
            note = NamedList("locations", form)
            location = index
        elif name in RANGES and _names_list(name, form, sizes):
            note = NamedList("ranges", form)
        elif name == DW_AT_GNU_locviews:
            if location < 0:
                found = "DW_AT_GNU_locviews without a location list"
                raise Unsupported(section, abbreviation.offset, found)
            viewed = ViewedList(attributes[location].form, form)
            notes[location] = [viewed]
            note = Views(viewed)
        if note is not None:
            notes.setdefault(index, []).append(note)
    return notes


def _note_of_address(name: int, form: int, tag: int) -> Note | None:
    """How to note an address; None for one that is relocated and on the start side."""
    side: Side = "start"
    if name == dw.DW_AT_call_return_pc or (name == DW_AT_low_pc and tag == dw.DW_TAG_GNU_call_site):
        side = "before"
    elif name == DW_AT_high_pc:
        side = "after"
    if form == DW_FORM_LLVM_addrx_offset:
        return AddressOffset(side)
    return Address(form, side) if side != "start" or form != DW_FORM_addr else None


def is_constant(form: int) -> bool:
    """Whether a form is of the class constant."""
    return form in CONSTANTS or form == DW_FORM_implicit_const


def _names_list(name: int, form: int, sizes: Sizes) -> bool:
    """Whether a value of this form may be the offset or the index of a list.

    DWARF 4 made DW_FORM_data4 and data8 constants; before, they held section offsets, but in
    DW_AT_data_member_location, where compilers wrote constants before they were allowed to.
    """
    if form in _LIST_FORMS:
        return True
    old = form in _OLD_LIST_FORMS and sizes.version < 4
    return old and name != dw.DW_AT_data_member_location
