""".debug_abbrev: what the entries of a unit are made of (DWARF 5, 7.5.3).

Most of what an entry holds can't be changed by an insertion, and most entries are the same bytes
in IN and OUT. So each declaration is split: which attributes may depend on where code is (`steps`),
and how to get over the bytes in between. An entry whose bytes are equal needs only the former read,
and only once. Most of these are looked at without reading (`simple`): expressions without an
operand that could change, and what a relocation fills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import encodings, forms
from nopfix.verifier.reader import Malformed, Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from nopfix.verifier.forms import Format, Value

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


DW_FORM_implicit_const = 0x21


class Specification(NamedTuple):
    """One attribute of an abbreviation."""

    name: str | int
    """Its number where nothing here asks for it by its name."""
    form: str
    read: Callable[[Reader], Value]


class Step(NamedTuple):
    """An attribute that may depend on code."""

    skipped: tuple[int, ...]
    """What to skip in front of it (`forms.skip`)."""
    specification: Specification
    size: int
    """Bytes of an address or of an offset into another section; 0 for all else."""


class Abbreviation(NamedTuple):
    """A declaration, ready for reading entries with it."""

    tag: str
    """Empty where nothing here asks for it by its name."""
    attributes: tuple[Specification, ...]
    children: bool
    steps: tuple[Step, ...]
    """The attributes that may depend on code."""
    rest: tuple[int, ...]
    """What to skip behind the last of them."""
    size: int
    """Bytes of an entry behind its code, where no attribute depends on code and all have a size
    of their own; else -1."""
    filled: tuple[Specification, ...]
    """Those of `steps` that are addresses or offsets into other sections."""
    simple: bool
    """Whether each of `steps` is an expression, or an offset into another section, or an address
    that nothing else in the entry counts from."""


def read(data: bytes, offset: int, shape: Format) -> dict[int, Abbreviation]:
    """The table of declarations at an offset, by code. Raises Malformed."""
    reader = Reader(data, offset, len(data))
    table: dict[int, Abbreviation] = {}
    # The same few dozen attributes, of two bytes each, make up nearly all declarations.
    known: dict[bytes, Specification] = {}
    while code := reader.uleb():
        tag = reader.uleb()
        children = reader.byte() != 0
        attributes = []
        while True:
            start = reader.position
            if (attribute := known.get(data[start : start + 2])) is not None:
                reader.position = start + 2
                attributes.append(attribute)
                continue
            name, form = reader.uleb(), reader.uleb()
            if not name and not form:
                break
            implicit = reader.sleb() if form == DW_FORM_implicit_const else 0
            attributes.append(_specification(name, form, implicit, shape))
            if reader.position == start + 2:
                known[data[start : start + 2]] = attributes[-1]
        if code in table:
            raise Malformed(f".debug_abbrev at {offset:#x}: code {code} twice")
        table[code] = _abbreviation(
            encodings.TAGS.get(tag, ""), tuple(attributes), shape, children=children
        )
    return table


def _specification(name: int, form: int, implicit: int, shape: Format) -> Specification:
    form_name = forms.name_of(form)
    read = forms.compile_form(form_name, shape, implicit)
    return Specification(encodings.ATTRIBUTES.get(name, name), form_name, read)


def _is_simple(step: Step) -> bool:
    name, form, _ = step.specification
    return form in ("DW_FORM_exprloc", "DW_FORM_sec_offset") or (
        form == "DW_FORM_addr" and name not in ("DW_AT_low_pc", "DW_AT_high_pc")
    )


def _abbreviation(
    tag: str, attributes: tuple[Specification, ...], shape: Format, *, children: bool
) -> Abbreviation:
    steps: list[Step] = []
    between: list[int] = []
    for attribute in attributes:
        if (
            attribute.form in _DEPENDING
            or attribute.name in AFTER_LOW_PC
            or (shape.version < 4 and attribute.form in _DEPENDING_EARLY)
        ):
            fixed = attribute.form in ("DW_FORM_addr", "DW_FORM_sec_offset")
            size = forms.skip_of(attribute.form, shape) if fixed else 0
            steps.append(Step(tuple(between), attribute, size))
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
        tuple(step.specification for step in steps if step.size),
        shape.version >= 4 and all(map(_is_simple, steps)),
    )
