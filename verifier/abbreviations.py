""".debug_abbrev: what the entries of a unit are made of (DWARF 5, 7.5.3).

Most of what an entry holds can't be changed by an insertion, and most entries are the same bytes
in IN and OUT. So each declaration is split: which attributes may depend on where code is (`steps`),
and how to get over the bytes in between. An entry whose bytes are equal needs only the former read,
and only once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from elftools.dwarf.enums import ENUM_DW_AT, ENUM_DW_TAG

from nopfix.verifier import forms
from nopfix.verifier.reader import Malformed, Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from nopfix.verifier.forms import Format, Value

_TAGS: dict[int, str] = {n: name for name, n in ENUM_DW_TAG.items() if isinstance(n, int)}
_ATTRIBUTES: dict[int, str] = {n: name for name, n in ENUM_DW_AT.items() if isinstance(n, int)}

AFTER_LOW_PC = frozenset({"DW_AT_high_pc", "DW_AT_entry_pc", "DW_AT_start_scope"})
"""Attributes that may be distances from an entry's DW_AT_low_pc, so are looked at behind it."""

_DEPENDING = forms.ADDRESS_INDICES | {
    "DW_FORM_addr",
    "DW_FORM_sec_offset",
    "DW_FORM_loclistx",
    "DW_FORM_rnglistx",
    "DW_FORM_exprloc",
    "DW_FORM_ref_addr",
    "DW_FORM_indirect",
}
"""Forms of values that may depend on where code, lists or entries of other units are."""
_DEPENDING_EARLY = frozenset(
    {
        "DW_FORM_block",
        "DW_FORM_block1",
        "DW_FORM_block2",
        "DW_FORM_block4",
        "DW_FORM_data4",
        "DW_FORM_data8",
    }
)
"""Those that are expressions and offsets into sections before DWARF 4."""


class Specification(NamedTuple):
    """One attribute of an abbreviation."""

    name: str | int
    form: str
    read: Callable[[Reader], Value]


class Abbreviation(NamedTuple):
    """A declaration, ready for reading entries with it."""

    tag: str
    attributes: tuple[Specification, ...]
    children: bool
    steps: tuple[tuple[tuple[int, ...], Specification], ...]
    """The attributes that may depend on code, each with what to skip in front of it."""
    rest: tuple[int, ...]
    """What to skip behind the last of them."""
    size: int
    """Bytes of an entry behind its code, where no attribute depends on code and all have a size
    of their own; else -1."""
    refers: bool
    """Whether it has references to entries of its unit."""


def read(data: bytes, offset: int, shape: Format) -> dict[int, Abbreviation]:
    """The table of declarations at an offset, by code. Raises Malformed."""
    reader = Reader(data, offset, len(data))
    table: dict[int, Abbreviation] = {}
    while code := reader.uleb():
        tag = reader.uleb()
        children = reader.unsigned(1) != 0
        attributes = []
        while True:
            name, form = reader.uleb(), reader.uleb()
            if not name and not form:
                break
            form_name = forms.name_of(form)
            implicit = reader.sleb() if form_name == "DW_FORM_implicit_const" else 0
            attribute = forms.compile_form(form_name, shape, implicit)
            attributes.append(Specification(_ATTRIBUTES.get(name, name), form_name, attribute))
        if code in table:
            raise Malformed(f".debug_abbrev at {offset:#x}: code {code} twice")
        table[code] = _abbreviation(
            _TAGS.get(tag, hex(tag)), tuple(attributes), shape, children=children
        )
    return table


def _abbreviation(
    tag: str, attributes: tuple[Specification, ...], shape: Format, *, children: bool
) -> Abbreviation:
    steps: list[tuple[tuple[int, ...], Specification]] = []
    between: list[int] = []
    for attribute in attributes:
        if (
            attribute.form in _DEPENDING
            or attribute.name in AFTER_LOW_PC
            or (shape.version < 4 and attribute.form in _DEPENDING_EARLY)
        ):
            steps.append((tuple(between), attribute))
            between = []
            continue
        size = forms.skip_of(attribute.form, shape)
        if size >= 0 and between and between[-1] >= 0:
            between[-1] += size
        elif size:
            between.append(size)
    return Abbreviation(
        tag,
        attributes,
        children,
        tuple(steps),
        tuple(between),
        -1 if steps or min(between, default=0) < 0 else sum(between),
        any(attribute.form in forms.UNIT_REFERENCES for attribute in attributes),
    )
