"""The inlined subroutines of an object, by caller and callee.

The problem: a kernel's object has some 30,000 debugging entries, of which a few hundred say what
was inlined.  pyelftools reads each attribute of each of them, a second an object, as long as the
compiler takes.  Here an entry without anything of interest costs a look-up and an addition where
its attributes are of fixed size: 0.04 s.  The plain reader stands in test_subroutines.py.

Source: DWARF 5, sections 3.3.8 (inlined subroutines), 7.5; what GCC writes: one unit, no
DW_FORM_indirect, references within the unit.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from elftools.elf.elffile import ELFFile

SIZES: Mapping[str, int] = {
    "DW_FORM_addr": 8,
    "DW_FORM_data1": 1,
    "DW_FORM_data2": 2,
    "DW_FORM_data4": 4,
    "DW_FORM_data8": 8,
    "DW_FORM_data16": 16,
    "DW_FORM_flag": 1,
    "DW_FORM_flag_present": 0,
    "DW_FORM_implicit_const": 0,
    "DW_FORM_line_strp": 4,
    "DW_FORM_ref4": 4,
    "DW_FORM_sec_offset": 4,
    "DW_FORM_strp": 4,
}
LEB128, BLOCK, STRING = "leb128", "block", "string"
KINDS: Mapping[str, str] = {
    "DW_FORM_sdata": LEB128,
    "DW_FORM_udata": LEB128,
    "DW_FORM_exprloc": BLOCK,
    "DW_FORM_block": BLOCK,
    "DW_FORM_string": STRING,
}
# Blocks behind a length of so many bytes.
LENGTHS: Mapping[str, int] = {"DW_FORM_block1": 1, "DW_FORM_block2": 2, "DW_FORM_block4": 4}
SUBPROGRAM, INLINED = "DW_TAG_subprogram", "DW_TAG_inlined_subroutine"
ORIGINS = ("DW_AT_abstract_origin", "DW_AT_specification")


class Shape(NamedTuple):
    """An abbreviation: ``size`` in bytes where none of its values says how long it is, else None;
    what is read of each value: attribute, form.
    """

    tag: str
    children: bool
    size: int | None
    attributes: tuple[tuple[str, str], ...]


class Entry(NamedTuple):
    """A function's entry: its own name, or the place of the entry that has it."""

    name: str | None
    origin: int | None


def inlined(file: ELFFile) -> Counter[str]:
    """Each "caller <- callee" among the entries of DW_TAG_inlined_subroutine, counted."""
    found: Counter[str] = Counter()
    dwarf = file.get_dwarf_info(relocate_dwarf_sections=False)
    for unit in dwarf.iter_CUs():
        data = dwarf.debug_info_sec.stream.getvalue()
        end = unit.cu_offset + unit.size
        shapes = _Shapes(unit.get_abbrev_table())
        strings = _strings(file, dwarf)
        entries: dict[int, Entry] = {}
        pairs: list[tuple[int, int]] = []  # places of caller and callee
        callers = [0]
        for depth, place, shape, begin in _walk(data, unit.cu_die_offset, end, shapes):
            del callers[depth + 1 :]
            caller = callers[depth]
            if shape.tag in (SUBPROGRAM, INLINED):
                entries[place] = _entry(data, begin, shape, strings, unit.cu_offset)
                if shape.tag == SUBPROGRAM:
                    caller = place
                else:
                    pairs.append((caller, place))
            callers.append(caller)
        for one, other in pairs:
            found[f"{_name(entries, one)} <- {_name(entries, other)}"] += 1
    return found


class _Shapes(dict[int, Shape]):
    """The shapes of one table by abbreviation code, made when first met."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self._table = table

    def __missing__(self, code: int) -> Shape:
        self[code] = shape = _shape(self._table.get_abbrev(code))
        return shape


def _shape(declaration: Any) -> Shape:
    attributes = tuple((spec["name"], spec["form"]) for spec in declaration["attr_spec"])
    forms = [form for _, form in attributes]
    fixed = all(form in SIZES for form in forms)
    size = sum(SIZES[form] for form in forms) if fixed else None
    return Shape(declaration["tag"], declaration.has_children(), size, attributes)


def _strings(file: ELFFile, dwarf: Any) -> Mapping[int, str]:
    """The strings that .debug_info refers to, by the place that does so."""
    relocations = file.get_section_by_name(".rela.debug_info")
    text = dwarf.debug_str_sec.stream.getvalue() if dwarf.debug_str_sec else b""
    symbols = file.get_section_by_name(".symtab")
    numbers = {section.name: index for index, section in enumerate(file.iter_sections())}
    wanted = {
        index: symbol["st_value"]
        for index, symbol in enumerate(symbols.iter_symbols())
        if symbol["st_shndx"] == numbers.get(".debug_str")
    }
    found = {}
    for place, info, addend in struct.iter_unpack("<QQq", relocations.data()):
        value = wanted.get(info >> 32)
        if value is not None:
            begin = value + addend
            found[place] = text[begin : text.index(0, begin)].decode("utf-8", "replace")
    return found


def _walk(
    data: bytes, place: int, end: int, shapes: Mapping[int, Shape]
) -> Iterator[tuple[int, int, Shape, int]]:
    """Each entry of a unit: how deep it lies, its place, shape, and where its values begin."""
    depth = 0
    while place < end:
        at = place
        code = data[place]
        place += 1
        if code >= 0x80:
            code, place = _unsigned(data, at)
        if not code:
            depth -= 1
            continue
        shape = shapes[code]
        if shape.tag in (SUBPROGRAM, INLINED) or shape.children:
            yield depth, at, shape, place
        depth += shape.children
        if shape.size is not None:
            place += shape.size
        else:
            for _, form in shape.attributes:
                place = _behind(data, place, form)


def _behind(data: bytes, place: int, form: str) -> int:
    """The place behind a value."""
    if form in SIZES:
        return place + SIZES[form]
    if form in LENGTHS:
        begin = place + LENGTHS[form]
        return begin + int.from_bytes(data[place:begin], "little")
    kind = KINDS[form]
    if kind == LEB128:
        return _unsigned(data, place)[1]
    if kind == STRING:
        return data.index(0, place) + 1
    length, begin = _unsigned(data, place)
    return begin + length


def _unsigned(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while data[place] >= 0x80:
        value |= (data[place] & 0x7F) << shift
        shift += 7
        place += 1
    return value | data[place] << shift, place + 1


def _entry(data: bytes, place: int, shape: Shape, strings: Mapping[int, str], unit: int) -> Entry:
    name = origin = None
    for attribute, form in shape.attributes:
        end = _behind(data, place, form)
        if attribute == "DW_AT_name":
            inline = form == "DW_FORM_string"
            name = data[place : end - 1].decode() if inline else strings[place]
        elif attribute in ORIGINS:
            origin = unit + int.from_bytes(data[place:end], "little")
        place = end
    return Entry(name, origin)


def _name(entries: Mapping[int, Entry], place: int) -> str:
    """A function's name, its own or that of what it was made from."""
    entry = entries.get(place)
    while entry is not None and entry.name is None:
        entry = None if entry.origin is None else entries.get(entry.origin)
    return "" if entry is None or entry.name is None else entry.name
