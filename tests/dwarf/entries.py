"""Debugging entries as assembly: trees of entries with any form, references by label.

`units` writes .debug_abbrev and .debug_info for the assembler, which computes every length,
reference and ULEB128 by itself, so the same text behind code with and without slots gives input
and expectation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from assembled import Step, check, pair

from nopfix.dwarf import debug, encodings, forms
from nopfix.dwarf.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assembled import Pair

    from nopfix.dwarf.section import Rewritten, Section

COMPILE_UNIT, SUBPROGRAM, BASE_TYPE, LEXICAL_BLOCK, CALL_SITE = 0x11, 0x2E, 0x24, 0x0B, 0x48
GNU_CALL_SITE, TYPE_UNIT, VARIABLE, SKELETON_UNIT = 0x4109, 0x41, 0x34, 0x4A

NAME, LOW_PC, HIGH_PC, TYPE, SIBLING, LOCATION = 0x03, 0x11, 0x12, 0x49, 0x01, 0x02
ENTRY_PC, RANGES, START_SCOPE, CALL_RETURN_PC, DECL_LINE = 0x52, 0x55, 0x2C, 0x7D, 0x3B
CALL_PC = 0x81
ADDR_BASE, LOCLISTS_BASE, RNGLISTS_BASE, CALL_ORIGIN = 0x73, 0x8C, 0x74, 0x7F

_DIRECTIVES = {1: ".byte", 2: ".2byte", 4: ".4byte", 8: ".8byte"}


class Value(NamedTuple):
    """An attribute: DW_AT_*, DW_FORM_*, and the value as an assembler expression.

    For blocks and expressions ``text`` is the directives inside; for DW_FORM_indirect ``actual`` is
    the form that follows.
    """

    name: int
    form: int
    text: str = ""
    actual: int = 0


class Entry(NamedTuple):
    """An entry; ``label`` names its first byte (its abbreviation code)."""

    tag: int
    values: tuple[Value, ...] = ()
    children: tuple[Entry, ...] = ()
    label: str = ""


class Unit(NamedTuple):
    """A unit; ``kind`` is DW_UT_* (DWARF 5), ``more`` the directives behind the header."""

    entry: Entry
    version: int = 5
    wide: bool = False
    kind: int = 1
    more: str = ""


def value_text(value: Value, wide: bool, version: int) -> str:
    """The directives of one value."""
    name, form, text, actual = value
    if form == encodings.DW_FORM_indirect:
        return f".uleb128 {actual}\n" + value_text(Value(name, actual, text), wide, version)
    size = forms.Sizes(version, 8 if wide else 4, 8).fixed(form)
    if size == 0:
        return ""
    if size in _DIRECTIVES:
        return f"{_DIRECTIVES[size]} {text}\n"
    if size == 3:
        return f".2byte ({text}) & 0xffff\n.byte ({text}) >> 16\n"
    if size == 16:
        return f".8byte {text}, 0\n"
    kind = forms.SIZES[form]
    if kind == "leb128":
        directive = ".sleb128" if form == encodings.DW_FORM_sdata else ".uleb128"
        return f"{directive} {text}\n"
    if kind == "string":
        return f'.asciz "{text}"\n'
    if kind == "addrx_offset":
        index, offset = text.split(",")
        return f".uleb128 {index}\n.4byte {offset}\n"
    length = {"block1": ".byte", "block2": ".2byte", "block4": ".4byte", "block": ".uleb128"}[kind]
    return f"{length} 9f-8f\n8:\n{text}\n9:\n"


def units(*written: Unit, suffix: str = "", first: int = 0) -> str:
    """The text of .debug_abbrev and .debug_info; ``suffix`` is .dwo for split units.

    Unit number i, from ``first`` on, has labels ``U<i>`` at its header, ``H<i>`` at its first
    entry and ``Z<i>`` at its end.
    """
    abbreviations = [f'.section .debug_abbrev{suffix},"",@progbits\n']
    entries = [f'.section .debug_info{suffix},"",@progbits\n']
    for number, unit in enumerate(written, first):
        codes: dict[tuple[object, ...], int] = {}
        body = _entry_text(unit.entry, unit, codes)
        abbreviations.append(f"A{number}:\n" + _abbreviations(codes) + ".uleb128 0\n")
        entries.append(_header(number, unit, first if suffix else -1) + body + f"Z{number}:\n")
    return "".join(abbreviations + entries)


def _header(number: int, unit: Unit, base: int) -> str:
    """The header; its offset into .debug_abbrev is relocated unless ``base`` names a table."""
    offset = (
        (".8byte" if unit.wide else ".4byte") + f" A{number}" + (f"-A{base}" if base >= 0 else "")
    )
    lines = [f"U{number}:"]
    lines += [".4byte -1", f".8byte Z{number}-1f"] if unit.wide else [f".4byte Z{number}-1f"]
    lines += ["1:", f".2byte {unit.version}"]
    if unit.version >= 5:
        lines += [f".byte {unit.kind}, 8", offset]
    else:
        lines += [offset, ".byte 8"]
    return "\n".join([*lines, unit.more, f"H{number}:"]) + "\n"


def _entry_text(entry: Entry, unit: Unit, codes: dict[tuple[object, ...], int]) -> str:
    implicit = tuple(v.text for v in entry.values if v.form == encodings.DW_FORM_implicit_const)
    pairs = tuple((v.name, v.form) for v in entry.values)
    code = codes.setdefault((entry.tag, bool(entry.children), pairs, implicit), len(codes) + 1)
    text = (f"{entry.label}:\n" if entry.label else "") + f".uleb128 {code}\n"
    text += "".join(value_text(value, unit.wide, unit.version) for value in entry.values)
    for child in entry.children:
        text += _entry_text(child, unit, codes)
    return text + (".byte 0\n" if entry.children else "")


def _abbreviations(codes: dict[tuple[object, ...], int]) -> str:
    text = ""
    for (tag, children, pairs, implicit), code in codes.items():
        text += f".uleb128 {code}, {tag}\n.byte {int(children)}\n"
        constants = iter(implicit)
        for name, form in pairs:
            text += f".uleb128 {name}, {form}\n"
            if form == encodings.DW_FORM_implicit_const:
                text += f".sleb128 {next(constants)}\n"
        text += ".uleb128 0, 0\n"
    return text


def sections(found: Pair) -> list[Section]:
    """The debug sections of the object without slots."""
    return [found.plain.section(name) for name in found.plain.numbers if name.startswith(".debug_")]


def check_all(found: Pair) -> dict[str, Rewritten]:
    """Rewrite every debug section of a pair and compare each with the assembler's."""
    rewritten = debug.rewrite(sections(found), found.maps).own
    maps = dict(found.maps) | {number: new.map for number, new in rewritten.items()}
    for section in sections(found):
        check(found, section.name, rewritten.get(section.number), maps)
    names = {number: name for name, number in found.plain.numbers.items()}
    return {names[number]: new for number, new in rewritten.items()}


# -- trees ----------------------------------------------------------------------------------------

CODE = [Step(call=i % 2 == 1, align=4 if i % 7 == 6 else 0) for i in range(24)]
LAST = len(CODE)


def compile_unit(*children: Entry, values: Sequence[Value] = ()) -> Entry:
    """A unit's own entry, which covers all of `CODE`."""
    low = Value(LOW_PC, encodings.DW_FORM_addr, "S0")
    return Entry(
        COMPILE_UNIT,
        (low, Value(HIGH_PC, encodings.DW_FORM_data8, f"E{LAST}-S0"), *values),
        children,
    )


def block(start: int, end: int, form: int, *children: Entry, tag: int = LEXICAL_BLOCK) -> Entry:
    """An entry from one boundary of the code to another, with a length in ``form``."""
    values = (
        Value(LOW_PC, encodings.DW_FORM_addr, f"S{start}"),
        Value(HIGH_PC, form, f"E{end}-S{start}"),
    )
    return Entry(tag, values, children)


def refused(tree: Entry, version: int = 5) -> Unsupported:
    """What a rewrite of ``tree`` is refused for."""
    found = pair({".text": CODE}, units(Unit(tree, version)))
    with pytest.raises(Unsupported) as caught:
        debug.rewrite(sections(found), found.maps)
    return caught.value
