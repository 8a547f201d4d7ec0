"""Random lists under random maps, read by pyelftools: the result is the map of what was written.

An address is one number here: the section's number in the high bits, the offset in the low ones.
The bytes are linked that way before they are read, so that relocated and plain fields, indices and
offsets from a base all end up as addresses.
"""

from __future__ import annotations

import io
from array import array
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from elftools.dwarf.locationlists import BaseAddressEntry as LocationBase
from elftools.dwarf.locationlists import LocationLists
from elftools.dwarf.ranges import BaseAddressEntry as RangeBase
from elftools.dwarf.ranges import RangeLists
from elftools.dwarf.structs import DWARFStructs
from hypothesis import given, settings
from hypothesis import strategies as st
from random_maps import code_maps

from nopfix.dwarf import loclists, rnglists
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.leb128 import encode_unsigned
from nopfix.dwarf.offset_map import IDENTITY, OffsetMap
from nopfix.dwarf.section import Relocations, Section, Target
from nopfix.dwarf.unit import NO_VIEWS, AddressTable, ListUses, Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nopfix.dwarf.section import Rewritten

LIMITS = settings(max_examples=120, deadline=None, database=None, derandomize=True)
MOVED, STILL = 1, 2
"""Two sections of code; the map is that of the first."""

Decoded = list[list[tuple[int, int, bytes]]]


def address(target: Target) -> int:
    return target.section << 40 | target.offset


class Written(NamedTuple):
    """A section under construction: bytes, and what the fields at some places point to."""

    data: bytearray
    relocations: list[tuple[int, Target]]
    indexed: list[Target]

    def pointer(self, target: Target) -> None:
        self.relocations.append((len(self.data), target))
        self.data.extend(bytes(8))

    def index_of(self, target: Target) -> None:
        self.data.extend(encode_unsigned(len(self.indexed)))
        self.indexed.append(target)

    def number(self, value: int, width: int = 0) -> None:
        self.data.extend(value.to_bytes(width, "little") if width else encode_unsigned(value))


class Span(NamedTuple):
    """What an entry is about, its base at the time, and its expression."""

    start: Target
    end: Target
    base: Target
    expression: bytes


LLE = {
    "base_addressx": 1, "startx_endx": 2, "startx_length": 3, "offset_pair": 4,
    "default_location": 5, "base_address": 6, "start_end": 7, "start_length": 8,
}  # fmt: skip
RLE = {
    "base_addressx": 1, "startx_endx": 2, "startx_length": 3, "offset_pair": 4,
    "base_address": 5, "start_end": 6, "start_length": 7,
}  # fmt: skip
PAIRS = {"base_address": 0, "offset_pair": 0, "start_end": 0}
SPLIT = {"base_addressx": 1, "startx_endx": 2, "startx_length": 3, "offset_pair": 4}
SECTIONS = {
    ".debug_loclists": LLE,
    ".debug_rnglists": RLE,
    ".debug_loc": PAIRS,
    ".debug_ranges": PAIRS,
    ".debug_loc.dwo": SPLIT,
}


def write_entry(out: Written, name: str, kind: str, span: Span) -> None:
    """One entry in the encoding of section ``name``."""
    start, end, base, expression = span
    length = end.offset - start.offset
    first, last = start.offset - base.offset, end.offset - base.offset
    if name in (".debug_loc", ".debug_ranges"):
        if kind == "base_address":
            out.number((1 << 64) - 1, 8)
            out.pointer(start)
        elif kind == "start_end":
            out.pointer(start)
            out.pointer(end)
        else:
            out.number(first, 8)
            out.number(last, 8)
        width = 2
    else:
        width = 2 if name.endswith(".dwo") else 0
        out.data.append(SECTIONS[name][kind])
        if kind == "offset_pair":
            out.number(first, 2 * width)
            out.number(last, 2 * width)
        elif kind != "default_location":
            (out.index_of if "x" in kind else out.pointer)(start)
            if kind in ("startx_endx", "start_end"):
                (out.index_of if "x" in kind else out.pointer)(end)
            elif kind in ("startx_length", "start_length"):
                out.number(length, 2 * width)
    if "loc" in name and not kind.startswith("base"):
        out.number(len(expression), width)
        out.data.extend(expression)


@st.composite
def spans(draw: st.DrawFn, base: Target) -> Span:
    """Something in the section of ``base``, behind it; its end may be a ``label-1`` of GCC's."""
    start = base.offset + 4 * draw(st.sampled_from((0, 0, 1, 7, 31, 90)))
    length = draw(st.sampled_from((0, 4, 4, 8, 100, 124, 128, 400, 3, 7)))
    expression = draw(st.sampled_from((b"\x53", b"\x91\x70", b"\x30\x9f")))
    return Span(base._replace(offset=start), base._replace(offset=start + length), base, expression)


targets = st.builds(
    Target, st.sampled_from((MOVED, MOVED, STILL)), st.integers(0, 200).map(lambda n: 4 * n)
)


@st.composite
def sections(draw: st.DrawFn, name: str, unit_base: Target) -> tuple[Written, list[int]]:
    """The lists of a section, and where they begin."""
    out = Written(bytearray(), [], [])
    if name.endswith("lists"):
        out.data.extend(bytes(4) + b"\5\0\x08\0" + bytes(4))
    offsets = []
    for _ in range(draw(st.integers(1, 5))):
        offsets.append(len(out.data))
        base = unit_base
        for _ in range(draw(st.integers(0, 6))):
            kind = draw(st.sampled_from(sorted(SECTIONS[name])))
            if kind.startswith("base"):
                base = draw(targets)
                write_entry(out, name, kind, Span(base, base, base, b""))
                continue
            if name in (".debug_loc", ".debug_ranges"):
                # A relocated pair is an address only where no base is added to it.
                kind = "start_end" if base is unit_base else "offset_pair"
            span = draw(spans(draw(targets) if kind.startswith("start") else base))
            if kind == "offset_pair" and span.end == base and SECTIONS[name] is PAIRS:
                continue  # 0, 0 is the end of the list
            write_entry(out, name, kind, span)
        out.data.extend(bytes(16 if name in (".debug_loc", ".debug_ranges") else 1))
    if name.endswith("lists"):
        out.data[:4] = (len(out.data) - 4).to_bytes(4, "little")
    return out, offsets


# -- reading --------------------------------------------------------------------------------------


def linked(data: bytes, relocations: Sequence[tuple[int, Target]]) -> bytes:
    result = bytearray(data)
    for place, target in relocations:
        result[place : place + 8] = address(target).to_bytes(8, "little")
    return bytes(result)


def decode(name: str, data: bytes, offsets: Sequence[int], table: list[int], base: int) -> Decoded:
    """The lists as pairs of addresses, with their expressions."""
    if name.endswith(".dwo"):
        return [decode_split(data, offset, table, base) for offset in offsets]
    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8, dwarf_version=5)
    unit = SimpleNamespace(dwarfinfo=SimpleNamespace(get_addr=lambda _, index: table[index]))
    version = 5 if name.endswith("lists") else 4
    stream = io.BytesIO(data)
    found: Decoded = []
    for offset in offsets:
        here = base
        entries: list[tuple[int, int, bytes]] = []
        if "loc" in name:
            reader = LocationLists(stream, structs, version)
            read = reader.get_location_list_at_offset(offset, SimpleNamespace(cu=unit))
        else:
            read = RangeLists(stream, structs, version, None).get_range_list_at_offset(offset, unit)
        for entry in read:
            if isinstance(entry, LocationBase | RangeBase):
                here = entry.base_address
                continue
            more = 0 if entry.is_absolute else here
            expression = bytes(getattr(entry, "loc_expr", b""))
            entries.append((entry.begin_offset + more, entry.end_offset + more, expression))
        found.append(entries)
    return found


def decode_split(
    data: bytes, place: int, table: list[int], base: int
) -> list[tuple[int, int, bytes]]:
    """A list of .debug_loc.dwo, which pyelftools doesn't read; the indices are of one byte."""
    found = []
    while kind := data[place]:
        place += 1
        if kind == SPLIT["base_addressx"]:
            base = table[data[place]]
            place += 1
            continue
        if kind == SPLIT["startx_endx"]:
            start, end = table[data[place]], table[data[place + 1]]
            place += 2
        elif kind == SPLIT["startx_length"]:
            start = table[data[place]]
            end = start + int.from_bytes(data[place + 1 : place + 5], "little")
            place += 5
        else:
            numbers = [int.from_bytes(data[place + i : place + i + 4], "little") for i in (0, 4)]
            start, end = base + numbers[0], base + numbers[1]
            place += 8
        size = int.from_bytes(data[place : place + 2], "little")
        found.append((start, end, data[place + 2 : place + 2 + size]))
        place += 2 + size
    return found


def moved(decoded: Decoded, code: OffsetMap) -> Decoded:
    """The map applied: starts, and ends of what isn't empty."""

    def new(place: int, *, end: bool) -> int:
        if place < 0 or place >> 40 != MOVED:
            return place
        offset = place & (1 << 40) - 1
        return MOVED << 40 | (code.after(offset) if end else code.start(offset))

    return [
        [(new(a, end=False), new(b, end=a != b), expression) for a, b, expression in entries]
        for entries in decoded
    ]


@pytest.mark.parametrize("name", SECTIONS)
def test_what_is_read_from_the_result_is_the_map_of_what_was_written(name: str) -> None:
    judged = changed = 0

    @LIMITS
    @given(st.data(), code_maps)
    def run(data: st.DataObject, code: OffsetMap) -> None:
        nonlocal judged, changed
        pairs = name in (".debug_loc", ".debug_ranges")
        unit_base = Target(0, 0) if pairs else data.draw(targets)
        out, offsets = data.draw(sections(name, unit_base))
        places = [place for place, _ in out.relocations]
        count = len(places)
        section = Section(
            9,
            name,
            bytes(out.data),
            Relocations(
                places,
                range(count),
                [target.offset for _, target in out.relocations],
                [target.section for _, target in out.relocations],
                [0] * count,
            ),
        )
        table = AddressTable(
            10,
            8 * len(out.indexed),
            0,
            8,
            Relocations(
                [8 * i for i in range(len(out.indexed))],
                range(len(out.indexed)),
                [target.offset for target in out.indexed],
                [target.section for target in out.indexed],
                [0] * len(out.indexed),
            ),
        )
        version = 5 if name.endswith("lists") else 4
        unit = Unit(8, 0, version, 4, 8, None if pairs else unit_base, table)
        views = array("Q", [NO_VIEWS] * len(offsets))
        uses = [ListUses(unit, "locations", 9, array("Q", offsets), views, None)]
        maps = {MOVED: code}
        try:
            new = rewrite(section, uses, maps)
        except Unsupported as error:
            # One entry of .debug_addr can't be an end in front of padding and a start behind it.
            if "as an end and as a start" not in error.found:
                raise
            return
        own = new.map if new else IDENTITY
        sides = new.sides if new else {}

        def at(target: Target, side: str = "start") -> Target:
            if target.section != MOVED:
                return target
            return target._replace(offset=code.after(target.offset) if side == "after"
                                   else code.start(target.offset))  # fmt: skip

        old = decode(
            name, linked(section.data, out.relocations), offsets, list(map(address, out.indexed)),
            address(unit_base),
        )  # fmt: skip
        got = decode(
            name,
            linked(
                bytes(new.data if new else section.data),
                [
                    (own.start(p), at(target, sides.get(p, "start")))
                    for p, target in out.relocations
                ],
            ),
            [own.start(offset) for offset in offsets],
            [address(at(target)) for target in out.indexed],
            address(at(unit_base)),
        )
        assert got == moved(old, code)
        judged += 1
        changed += got != old

    run()
    assert judged > 60
    assert changed > 20


def rewrite(
    section: Section, uses: Sequence[ListUses], maps: Mapping[int, OffsetMap]
) -> Rewritten | None:
    if "loc" in section.name:
        return loclists.rewrite(section, uses, maps).rewritten
    return rnglists.rewrite(section, uses, maps).rewritten
