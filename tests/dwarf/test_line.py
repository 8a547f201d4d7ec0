"""Line tables against the assembler, and against a decoder of its own."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
from typing import TYPE_CHECKING

import assembled
import plain_lines
import pytest
from assembled import ASSEMBLED, Pair, assemble, check, edits, needs_assembler, text
from elftools.dwarf.lineprogram import LineProgram
from elftools.dwarf.structs import DWARFStructs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plain_lines import COUNTS, Form, Step, advance_of
from random_maps import code_maps

from nopfix.dwarf import leb128, line
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import IDENTITY, OffsetMap, padding, slot
from nopfix.dwarf.section import Relocations, Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LIMITS = settings(max_examples=80, deadline=None, database=None, derandomize=True)

# -- against the assembler ------------------------------------------------------------------------

steps = st.builds(
    assembled.Step,
    size=st.sampled_from((4, 4, 4, 8, 64, 68, 72, 132, 136, 1088, 70000)),
    call=st.booleans(),
    align=st.sampled_from((0, 0, 0, 4)),
)
codes = st.lists(steps, min_size=1, max_size=25)


def located(code: Sequence[assembled.Step], first: int, choice: random.Random) -> dict[str, str]:
    """For each label that something begins at, the ``.loc`` directives behind it.

    A directive that starts the views anew is the first at its place, as GCC has it at the start of
    a function; what is in front of it may end with one of its own.
    """
    found = {}
    row = 100
    for number in range(first, first + len(code)):
        directives = ""
        anew = choice.random() < 0.3
        for count in range(choice.choice((0, 1, 1, 1, 2, 3)) or anew):
            row = max(1, row + choice.choice((0, 1, 2, -5, -6, 8, 9, 200, -90)))
            directives += f".loc {choice.choice((1, 1, 1, 2))} {row} {choice.choice((1, 5, 200))}"
            directives += choice.choice(("", "", " is_stmt 0", " discriminator 3"))
            directives += " view -0" if anew and not count else ""
            directives += choice.choice(("", " basic_block", " prologue_end")) + "\n"
        found[f"S{number}:\n"] = directives
        if anew and number > first and choice.random() < 0.5:
            rows = choice.choice((1, 1, 2))
            found[f"E{number}:\n"] = "".join(
                f".loc 1 {row + 3 * count} 5 view V{number}_{count}\n" for count in range(rows)
            )
    return found


def both(
    sections: Sequence[Sequence[assembled.Step]],
    files: str,
    rows: Callable[[Sequence[assembled.Step], int], Mapping[str, str]],
) -> Pair:
    """Both objects with the same ``.loc`` directives, and the maps read off their symbols.

    ``rows`` gives those of a section, by the label that they follow.
    """
    names = [f".text.f{number}" if number else ".text" for number in range(len(sections))]
    firsts = [sum(len(code) + 1 for code in sections[:number]) for number in range(len(sections))]
    objects = []
    for slots in (False, True):
        parts = [files]
        for name, first, code in zip(names, firsts, sections, strict=True):
            body = text(code, slots, first)
            for label, directives in rows(code, first).items():
                body = body.replace(label, label + directives)
            parts.append(f'.section {name},"ax",@progbits\n{body}')
        objects.append(assemble("".join(parts)))
    plain, want = objects
    maps = {
        plain.numbers[name]: OffsetMap(edits(plain, want, first, first + len(code)))
        for name, first, code in zip(names, firsts, sections, strict=True)
    }
    return Pair(plain, want, maps)


def padded(obj: assembled.Object, boundary: int) -> int:
    """How many bytes of padding an object has at a boundary."""
    return obj.symbols[f"S{boundary}"] - obj.symbols[f"E{boundary}"]


@needs_assembler
@ASSEMBLED
@given(st.lists(codes, min_size=1, max_size=3), st.integers(0, 1 << 32), st.booleans())
def test_the_table_comes_out_as_the_assembler_writes_it(
    sections: list[list[assembled.Step]], seed: int, version_5: bool
) -> None:
    files = '.file 0 "/somewhere" "a.c"\n' if version_5 else ""
    found = both(
        sections,
        files + '.file 1 "a.c"\n.file 2 "b.h"\n',
        lambda code, first: located(code, first, random.Random(seed + first)),
    )
    # That a section's end was aligned doesn't show where it needed no padding: nopfix makes none.
    ends = itertools.accumulate(len(code) + 1 for code in sections)
    assume(not any(padded(found.want, end - 1) > padded(found.plain, end - 1) == 0 for end in ends))
    if ".debug_line" not in found.plain.contents:
        return
    section = found.plain.section(".debug_line")
    new = line.rewrite(section, found.maps)
    check(found, ".debug_line", new, found.maps)


@needs_assembler
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", [12, 28, 268])
def test_rows_of_a_function_that_ends_with_a_call_stay_in_front_of_new_padding(
    size: int, count: int
) -> None:
    """GCC's .loc with a view makes its row at once; the next function's starts the views anew."""
    code = [
        assembled.Step(size),
        assembled.Step(call=True, align=4),
        assembled.Step(),
        *(CALL,) * 2,
    ]
    last = "".join(f".loc 1 {number + 3} 5 view V{number}\n" for number in range(count))
    rows = {"S0:\n": ".loc 1 1 1 view -0\n", "E2:\n": last, "S2:\n": ".loc 1 9 1 view -0\n"}
    found = both([code], '.file 1 "a.c"\n', lambda _code, _first: rows)
    assert found.maps[found.plain.numbers[".text"]].padded
    new = line.rewrite(found.plain.section(".debug_line"), found.maps)
    check(found, ".debug_line", new, found.maps)


CALL = assembled.Step(call=True)

# -- against a decoder ----------------------------------------------------------------------------


forms = st.builds(
    Form,
    version=st.integers(2, 5),
    wide=st.booleans(),
    unit=st.sampled_from((1, 2, 4)),
    base=st.sampled_from((-5, -3, -1, 0, 1, -10)),
    range=st.sampled_from((14, 12, 4, 1, 10, 243)),
    opcode_base=st.sampled_from((10, 13, 14, 17)),
)

# What can stand between the rows, with the opcode_base that has it.
BETWEEN = [
    ("0502", 10),  # DW_LNS_set_column
    ("058003", 10),
    ("0402", 10),  # DW_LNS_set_file
    ("06", 10),  # DW_LNS_negate_stmt
    ("07", 10),  # DW_LNS_set_basic_block
    ("0a", 13),  # DW_LNS_set_prologue_end
    ("0b", 13),  # DW_LNS_set_epilogue_begin
    ("0c8101", 13),  # DW_LNS_set_isa
    ("0d8101", 14),  # unknown, one operand
    ("0f810102", 17),  # unknown, two operands
    ("00020405", 10),  # DW_LNE_set_discriminator
    ("000380aabb", 10),  # DW_LNE_lo_user
    ("00820080ff", 10),  # the same with a padded length
]


def header(form: Form, program: bytes) -> bytes:
    """A unit of the given form around ``program``."""
    fields = bytes((form.unit,)) + (b"\x01" if form.version >= 4 else b"")
    fields += bytes((1, form.base & 0xFF, form.range, form.opcode_base))
    fields += COUNTS[: form.opcode_base - 1] + b"dir\0\0a.c\0\0\0\0\0"
    size = 8 if form.wide else 4
    body = form.version.to_bytes(2, "little") + (b"\x08\0" if form.version >= 5 else b"")
    body += len(fields).to_bytes(size, "little") + fields + program
    return (b"\xff" * 4 if form.wide else b"") + len(body).to_bytes(size, "little") + body


@st.composite
def programs(draw: st.DrawFn, form: Form) -> tuple[bytes, list[tuple[int, int, int]]]:
    """A program, and its relocations as (offset in it, section, target)."""
    program = bytearray()
    relocations = []
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(1, 2)), 4 * draw(st.integers(0, 40))
        relocations.append((len(program) + 3, *where))
        program += b"\0\x09\x02" + bytes(8)
        for _ in range(draw(st.integers(0, 12))):
            for _ in range(draw(st.integers(0, 2))):
                code, needed = draw(st.sampled_from(BETWEEN))
                if form.opcode_base >= needed:
                    program += bytes.fromhex(code)
            words = draw(st.sampled_from((0, 0, 1, 2, 3, 17, 35, 200)))
            kind = draw(st.integers(0, 4))
            if draw(st.integers(0, 3)) == 0:
                program += b"\x03" + leb128.encode_signed(draw(st.integers(-200, 200)))
            if kind == 0:
                program += b"\x02" + leb128.encode_unsigned(4 * words // form.unit)
            elif kind == 1:
                program += b"\x09" + (4 * words).to_bytes(2, "little")
            elif kind == 2 and advance_of(255, form) % 4 == 0:
                program.append(8)
            if draw(st.integers(0, 4)) == 0:
                code, needed = draw(st.sampled_from(BETWEEN[:5]))
                program += bytes.fromhex(code)
            special = draw(st.integers(form.opcode_base, 255))
            if draw(st.booleans()) and advance_of(special, form) % 4 == 0:
                program.append(special)
            else:
                program.append(1)
        if draw(st.booleans()):
            program += b"\x02" + leb128.encode_unsigned(4 * draw(st.integers(0, 20)) // form.unit)
        program += b"\0\x01\x01"
    return bytes(program), relocations


Row = tuple[int, int, int, tuple[bytes, ...], bool]


def decode(
    data: bytes, start: int, end: int, form: Form, bases: Mapping[int, tuple[int, int]]
) -> list[Row]:
    """Rows: (section, address, line, everything else since the last row, end of sequence)."""
    return [
        (step.section, step.address, step.line, step.others, step.kind == "end")
        for step in plain_lines.read(data, start, end, form, bases)
        if step.kind in ("row", "end")
    ]


COUNTS_OF_DWARF_5 = COUNTS[:12]
"""The standard opcodes that pyelftools knows."""


def linked(data: bytes | bytearray, bases: Mapping[int, tuple[int, int]]) -> bytes:
    """The section with its addresses filled in: the section's number in the high bits."""
    result = bytearray(data)
    for place, (number, offset) in bases.items():
        result[place : place + 8] = (number << 40 | offset).to_bytes(8, "little")
    return bytes(result)


def rows_of_pyelftools(data: bytes, start: int, end: int, form: Form) -> list[dict[str, object]]:
    """The rows of one unit as an independent reader decodes them."""
    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)
    fields = {
        "minimum_instruction_length": form.unit,
        "maximum_operations_per_instruction": 1,
        "default_is_stmt": 1,
        "line_base": form.base,
        "line_range": form.range,
        "opcode_base": form.opcode_base,
        "file_entry": [],
    }
    program = LineProgram(fields, io.BytesIO(data), structs, start, end)
    return [vars(entry.state) for entry in program.get_entries() if entry.state is not None]


def expected(rows: list[Row], maps: Mapping[int, OffsetMap]) -> list[Row]:
    """The rows with the map applied: ends, and rows at the very place of an end, go after."""
    found: list[Row] = []
    ends = False
    following = -1
    for section, address, lines, others, end in reversed(rows):
        code_map = maps.get(section, IDENTITY)
        ends = end or (ends and address == following)
        following = address
        side = code_map.after if ends else code_map.start
        found.append((section, side(address), lines, others, end))
    return found[::-1]


@LIMITS
@given(st.data(), st.lists(forms, min_size=1, max_size=3), code_maps)
def test_what_is_read_from_the_result_is_the_map_of_what_was_written(
    data: st.DataObject, found: list[Form], code_map: OffsetMap
) -> None:
    old = bytearray()
    places = []
    bounds = []
    for form in found:
        program, relocations = data.draw(programs(form))
        unit = header(form, program)
        start = len(old) + len(unit) - len(program)
        places += [(start + place, section, target) for place, section, target in relocations]
        old += unit
        bounds.append((start, len(old)))
    section = Section(
        9,
        ".debug_line",
        bytes(old),
        Relocations(
            [place for place, _, _ in places],
            range(len(places)),
            [target for _, _, target in places],
            [number for _, number, _ in places],
            [0] * len(places),
        ),
    )
    maps = {1: code_map}
    try:
        new = line.rewrite(section, maps)
    except Unsupported as error:
        # Nothing but two bytes for a distance that needs more.
        if "fixed advance" not in error.found:
            raise
        return
    old_bases = {place: (number, target) for place, number, target in places}
    new_bases = {
        new.map.start(place): (
            number,
            maps.get(number, IDENTITY).move(target, new.sides.get(place, "start")),
        )
        for place, number, target in places
    }
    for form, (start, end) in zip(found, bounds, strict=True):
        rows = decode(bytes(old), start, end, form, old_bases)
        moved = decode(bytes(new.data), new.map.start(start), new.map.start(end), form, new_bases)
        assert moved == expected(rows, maps)
        if form.opcode_base <= len(COUNTS_OF_DWARF_5) + 1:
            known = {where: base for where, base in old_bases.items() if start <= where < end}
            moved_bases = {new.map.start(where): new_bases[new.map.start(where)] for where in known}
            theirs, ours = (
                rows_of_pyelftools(linked(data, bases), begin, stop, form)
                for data, begin, stop, bases in (
                    (old, start, end, known),
                    (new.data, new.map.start(start), new.map.start(end), moved_bases),
                )
            )
            assert ours == [
                row | {"address": place}
                for row, place in zip(
                    theirs,
                    (number << 40 | address for number, address, *_ in expected(rows, maps)),
                    strict=True,
                )
            ]
    lengths = [len(unit) for unit in split(bytes(new.data))]
    ends = [0, *(new.map.start(end) for _, end in bounds)]
    assert lengths == [end - start for start, end in itertools.pairwise(ends)]


def split(data: bytes) -> list[bytes]:
    """The units of a section by their lengths."""
    units = []
    while data:
        wide = data.startswith(b"\xff" * 4)
        size = 12 + int.from_bytes(data[4:12], "little") if wide else 4
        size = size if wide else 4 + int.from_bytes(data[:4], "little")
        units.append(data[:size])
        data = data[size:]
    return units


def moving(steps: list[Step], code_map: OffsetMap) -> list[tuple[str, int]]:
    """The kind and end of each step of section 1 that moves unlike the one in front of it."""
    shifts: list[int] = []
    ends, following = False, -1
    for step in reversed(steps):
        ends = step.kind == "end" or (ends and step.address == following)
        following = step.address
        shifts.insert(0, (code_map.after if ends else code_map.start)(step.address) - step.address)
    return [
        (step.kind, step.behind)
        for step, shift, before in zip(steps[1:], shifts[1:], shifts, strict=False)
        if step.kind != "address" and step.section == 1 and shift != before
    ]


@LIMITS
@given(st.data(), forms, code_maps)
def test_the_dense_loop_finds_the_rows_that_a_plain_reader_finds(
    data: st.DataObject, form: Form, code_map: OffsetMap
) -> None:
    program, relocations = data.draw(programs(form))
    unit = header(form, program)
    start = len(unit) - len(program)
    places = [start + place for place, _, _ in relocations]
    columns = [number for _, number, _ in relocations], [target for _, _, target in relocations]
    count = range(len(places))
    section = Section(
        9, ".debug_line", unit, Relocations(places, count, [0] * len(places), *columns)
    )
    (extent,) = line.extents(section, unit)
    read = line.read_header(section, unit, extent)
    bases = dict(zip(places, zip(*columns, strict=True), strict=True))
    steps = list(plain_lines.read(unit, start, len(unit), form, bases))
    found = [
        whose(row, start, steps)
        for sequence in line.find(section, unit, read, {1: code_map})
        for row, _ in line.moved(sequence)
    ]
    assert found == moving(steps, code_map)


def whose(row: line.Row, start: int, steps: list[Step]) -> tuple[str, int]:
    """Kind and end of what ``row`` makes; an advance in front of a row is that row's."""
    end = start + row.end
    if row.kind != "advance":
        return row.kind, end
    return next((step.kind, step.behind) for step in steps if step.behind > end)


# -- single rules ---------------------------------------------------------------------------------

GAS = Form(3, False, 4, -5, 14, 13)
START = "000902 0000000000000000"
END = "000101"


def table(program: str, form: Form = GAS, target: int = 0) -> Section:
    """One unit whose program begins with DW_LNE_set_address to ``target`` in section 1."""
    code = bytes.fromhex(START + program)
    unit = header(form, code)
    place = len(unit) - len(code) + 3
    return Section(9, ".debug_line", unit, Relocations([place], [0], [target], [1], [0]))


def moved(section: Section, *edits: tuple[int, int]) -> str:
    """The program behind DW_LNE_set_address, each edit a slot and padding at an offset."""
    made = [slot(place) for place, _ in edits] + [padding(place, size) for place, size in edits]
    new = line.rewrite(section, {1: OffsetMap(made)})
    return bytes(new.data)[section.relocations.places[0] + 8 :].hex()


ROWS = [
    # rows, where a slot goes in, the rows as the assembler writes them
    ("a special opcode", "20", 4, "2e"),
    ("a special opcode that no longer fits", "f2", 0x40, "0812"),
    ("const_add_pc and a special opcode", "0820", 8, "082e"),
    ("const_add_pc that no longer fits", "08f2", 8, "022212"),
    ("advance_pc of two bytes where one was enough", "027f12", 8, "02800112"),
    ("advance_line and a row", "03e4000120", 4, "03e400012e"),
    ("advance_line and a copy that has to advance", "03e4002e", 8, "03e4003c"),
    ("advance_line, advance_pc and a copy", "03e4000223 01", 8, "03e400022401"),
]


@pytest.mark.parametrize(
    ("rows", "place", "new"), [case[1:] for case in ROWS], ids=[case[0] for case in ROWS]
)
def test_a_row_behind_a_slot_is_encoded_as_the_assembler_does(
    rows: str, place: int, new: str
) -> None:
    assert moved(table(rows + END), (place, 0)) == new + END


BY_THEMSELVES = [
    # what a compiler writes, where a slot goes in, what it would write then
    ("a discriminator behind the advance", "0208 00020401 01", 8, "020c0002040101"),
    ("a discriminator, and a special opcode", "0208 00020401 12", 8, "020c0002040112"),
    ("a column behind the advance", "0208 0505 06 12", 8, "020c05050612"),
    ("a column and a line", "0208 0505 03e40001", 8, "020c050503e40001"),
    ("a line behind the advance", "0208 03e40001", 8, "020c03e40001"),
    ("a copy right behind the advance", "0208 01", 8, "020c01"),
    ("another size", "027c 00020403 01", 0x7C, "02800100020403 01"),
]


@pytest.mark.parametrize(
    ("rows", "place", "new"),
    [case[1:] for case in BY_THEMSELVES],
    ids=[case[0] for case in BY_THEMSELVES],
)
def test_an_advance_that_a_compiler_writes_itself_changes_in_place(
    rows: str, place: int, new: str
) -> None:
    section = table(rows + END, form=Form(5, False, 1, -10, 242, 13))
    assert moved(section, (place, 0)) == new.replace(" ", "") + END


def test_an_advance_in_front_of_another_row_is_not_this_ones() -> None:
    form = Form(5, False, 1, -10, 242, 13)
    rows = "0208 00020401 01 01 050701"
    assert moved(table(rows + END, form=form), (8, 0)).startswith(
        "020c0002040101 01".replace(" ", "")
    )


def test_rows_between_edits_keep_a_form_that_the_assembler_would_not_choose() -> None:
    odd = "0201 05 02 12 09 0400 01"
    assert moved(table("20" + odd + "20" + END), (4, 0)).startswith(
        "2e" + odd.replace(" ", "") + "20"
    )


def test_an_end_of_sequence_is_in_front_of_new_padding() -> None:
    assert moved(table("2020 0201" + END), (12, 8)) == "20200202" + END


def test_llvms_end_of_sequence_without_an_advance_stays_without() -> None:
    assert moved(table("2020" + END), (4, 0)) == "2e20" + END


def test_rows_at_the_place_where_the_sequence_ends_stay_with_it() -> None:
    assert moved(table("20 20 12" + END), (8, 8)) == "202e12" + END


def test_an_address_that_only_ends_a_sequence_is_an_end() -> None:
    """GCC's own tables (-gno-as-loc-support) end with DW_LNE_set_address."""
    section = table(END, target=8)
    new = line.rewrite(section, {1: OffsetMap([slot(8), padding(8, 8)])})
    assert new.sides == {section.relocations.places[0]: "after"}


def test_a_fixed_advance_keeps_its_two_bytes() -> None:
    assert (
        moved(table("090800 12 090800 12" + END), (4, 0))
        == "090c0012090800 12".replace(" ", "") + END
    )


def test_a_fixed_advance_that_no_longer_fits_is_refused() -> None:
    with pytest.raises(Unsupported, match="fixed advance 0x10000 doesn't fit 2 bytes"):
        moved(table("09fcff12" + END), (4, 0))


def test_a_unit_of_code_that_did_not_move_is_not_looked_at() -> None:
    section = table("ff" * 9)
    new = line.rewrite(section, {2: OffsetMap([slot(4)])})
    assert new.data is section.data
    assert new.map is IDENTITY


def test_a_relocation_inside_a_later_sequence_moves_with_what_grew() -> None:
    first = table("f2" + END)
    code = bytes.fromhex(START + "f2" + END + START + "20" + END)
    unit = header(GAS, code)
    place = first.relocations.places[0]
    places = [place, place + 8 + 4 + 3]
    section = Section(9, ".debug_line", unit, Relocations(places, [0, 1], [0, 0], [1, 2], [0, 0]))
    new = line.rewrite(section, {1: OffsetMap([slot(0x40)])})
    assert [new.map.start(p) for p in places] == [place, place + 8 + 5 + 3]
    assert int.from_bytes(new.data[:4], "little") == len(unit) - 4 + 1


# -- damage ---------------------------------------------------------------------------------------

DAMAGED: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("a length beyond the section", lambda d: b"\xff\xff\0\0" + d[4:], "past the section"),
    ("a 4 GiB unit", lambda d: b"\xff" * 4 + (1 << 32).to_bytes(8, "little") + d, "past"),
    ("a unit without room for a header", lambda d: b"\x02\0\0\0\x03\0", "too early"),
    ("version 6", lambda d: d[:4] + b"\x06" + d[5:], "version 6"),
    ("a header beyond its unit", lambda d: d[:6] + b"\xff\xff" + d[8:], "header"),
    ("a line_range of 0", lambda d: d[:13] + b"\0" + d[14:], "no sense"),
    ("opcode lengths that aren't there", lambda d: d[:14] + b"\xff" + d[15:], "no sense"),
    ("an opcode of another meaning", lambda d: d[:16] + b"\x02" + d[17:], "another meaning"),
    ("an endless number", lambda d: d[:-3] + b"\x02\x80\x80", "too early"),
    ("an extended opcode beyond the unit", lambda d: d[:-3] + b"\0\x09\x80", "too early"),
]


@pytest.mark.parametrize(
    ("damage", "message"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED]
)
def test_damage_is_refused_with_its_place(damage: Callable[[bytes], bytes], message: str) -> None:
    section = table("20202020" + END)
    section = section._replace(data=damage(section.data))
    with pytest.raises(Unsupported) as caught:
        line.rewrite(section, {1: OffsetMap([slot(0x400)])})
    assert message in caught.value.found
    assert caught.value.section == ".debug_line"
    assert caught.value.offset is not None


@settings(LIMITS, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6))
def test_random_damage_raises_nothing_else(changes: list[tuple[int, int]]) -> None:
    section = table("20 0e 03e4000223 01 0408 00020405 08f2 090800 12 0202" + END)
    data = bytearray(section.data)
    for place, value in changes:
        data[place % len(data)] = value
    section = section._replace(data=bytes(data))
    with contextlib.suppress(Unsupported):
        new = line.rewrite(section, {1: OffsetMap([slot(4), slot(0x50), padding(0x60, 8)])})
        assert len(new.data) <= len(data) + 64
