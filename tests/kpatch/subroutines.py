"""The inlined subroutines of an object, by caller and callee.

The problem: a kernel's object has some 30,000 debugging entries, of which a few hundred say what
was inlined.  pyelftools reads each attribute of each of them, a second an object, as long as the
compiler takes.  Here an entry without anything of interest costs a look-up and an addition where
its attributes are of fixed size: 0.04 s.  The plain reader stands in test_subroutines.py.

Source: DWARF 5, sections 3.3.8 (inlined subroutines), 7.5; what GCC writes: one unit of 32-bit
DWARF, no DW_FORM_indirect, references within the unit.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from nopfix.dwarf import encodings, leb128
from nopfix.dwarf.forms import Sizes, skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from elftools.elf.elffile import ELFFile

SUBPROGRAM, INLINED = "DW_TAG_subprogram", "DW_TAG_inlined_subroutine"
ORIGINS = ("DW_AT_abstract_origin", "DW_AT_specification")


class Shape(NamedTuple):
    """An abbreviation: ``size`` in bytes where none of its values says how long it is, else None;
    what is read of each value: attribute, and the number of its form.
    """

    tag: str
    children: bool
    size: int | None
    attributes: tuple[tuple[str, int], ...]


class Entry(NamedTuple):
    """A function's entry: its own name, or the place of the entry that has it."""

    name: str | None
    origin: int | None


def inlined(file: ELFFile) -> Counter[str]:
    """Each entry of DW_TAG_inlined_subroutine by what it lies in, counted: "function <- callee", or
    "function <- callee <- callee of that".
    """
    found: Counter[str] = Counter()
    dwarf = file.get_dwarf_info(relocate_dwarf_sections=False)
    strings = _strings(file, dwarf)
    for unit in dwarf.iter_CUs():
        data = dwarf.debug_info_sec.stream.getvalue()
        end = unit.cu_offset + unit.size
        sizes = Sizes(unit["version"], 4, unit["address_size"])
        shapes = _Shapes(unit.get_abbrev_table(), sizes)
        entries: dict[int, Entry] = {}
        chains: list[tuple[int, ...]] = []  # places of the function and of what is inlined
        callers: list[tuple[int, ...]] = [(0,)]
        for depth, place, shape, begin in _walk(data, unit.cu_die_offset, end, shapes):
            del callers[depth + 1 :]
            caller = callers[depth]
            if shape.tag in (SUBPROGRAM, INLINED):
                entries[place] = _entry(data, begin, shape, sizes, strings, unit.cu_offset)
                caller = (place,) if shape.tag == SUBPROGRAM else (*caller, place)
                if shape.tag == INLINED:
                    chains.append(caller)
            callers.append(caller)
        for chain in chains:
            found[" <- ".join(_name(entries, place) for place in chain)] += 1
    return found


class _Shapes(dict[int, Shape]):
    """The shapes of one table by abbreviation code, made when first met."""

    def __init__(self, table: Any, sizes: Sizes) -> None:
        super().__init__()
        self._table = table
        self.sizes = sizes

    def __missing__(self, code: int) -> Shape:
        self[code] = shape = _shape(self._table.get_abbrev(code), self.sizes)
        return shape


def _shape(declaration: Any, sizes: Sizes) -> Shape:
    attributes = tuple(
        (spec["name"], getattr(encodings, spec["form"])) for spec in declaration["attr_spec"]
    )
    fixed = [sizes.fixed(form) for _, form in attributes]
    size = None if None in fixed else sum(filter(None, fixed))
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
    data: bytes, place: int, end: int, shapes: _Shapes
) -> Iterator[tuple[int, int, Shape, int]]:
    """Each entry of a unit: how deep it lies, its place, shape, and where its values begin."""
    depth = 0
    while place < end:
        at = place
        code, place = leb128.unsigned(data, at)
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
                place = skip(data, place, form, shapes.sizes)


def _entry(
    data: bytes, place: int, shape: Shape, sizes: Sizes, strings: Mapping[int, str], unit: int
) -> Entry:
    """The entry whose values begin at ``place``, in a unit at ``unit``."""
    name = origin = None
    for attribute, form in shape.attributes:
        end = skip(data, place, form, sizes)
        if attribute == "DW_AT_name":
            inline = form == encodings.DW_FORM_string
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
