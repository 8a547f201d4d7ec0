"""Call frame information against the assembler, and against a decoder of its own."""

from __future__ import annotations

import contextlib
import io
import random
from typing import TYPE_CHECKING, NamedTuple

import plain_frames
import pytest
from assembled import ASSEMBLED, Object, Pair, Step, assemble, check, edits, needs_assembler, text
from elftools.dwarf.callframe import FDE, CallFrameInfo
from elftools.dwarf.structs import DWARFStructs
from hypothesis import given, settings
from hypothesis import strategies as st

from nopfix.dwarf import frame, leb128
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import IDENTITY, OffsetMap, padding, slot
from nopfix.dwarf.section import Relocations, Section, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMITS = settings(max_examples=60, deadline=None, database=None, derandomize=True)

# -- against the assembler ------------------------------------------------------------------------

# What a label can be followed by; sizes from one byte to several, operands of 0 at the end of an
# entry, where they look like padding.
DIRECTIVES = [
    ".cfi_def_cfa_offset 0",
    ".cfi_def_cfa_offset 32",
    ".cfi_offset 31, -8",
    ".cfi_offset 65, 16",
    ".cfi_restore 31",
    ".cfi_register 65, 0",
    ".cfi_remember_state\n.cfi_restore_state",
    ".cfi_escape 0x2e, 0x80, 0x01",
    ".cfi_escape 0x16, 0x1f, 0x03, 0x02, 0x44, 0x04",  # an expression that looks like advances
]

steps = st.builds(
    Step,
    size=st.sampled_from((4, 4, 4, 8, 232, 248, 252, 1016, 1020)),
    call=st.booleans(),
    align=st.just(0),
)
functions = st.lists(st.lists(steps, min_size=1, max_size=8), min_size=1, max_size=5)


def source(
    codes: Sequence[Sequence[Step]], slots: bool, choice: random.Random, prologue: str
) -> str:
    """Functions, aligned to 16, with a directive or none at each of their labels."""
    parts = [".text\n"]
    first = 0
    for code in codes:
        last = first + len(code)
        body = text(code, slots, first)
        for number in range(first, last):
            label = f"S{number}:\n"
            directive = choice.choice(DIRECTIVES + [""] * 4) + "\n"
            body = body.replace(label, label + (prologue if number == first else "") + directive)
        parts.append(body.replace(f"E{last}:\n", f"E{last}:\n.cfi_endproc\n.p2align 4\n"))
        first = last + 1
    return "".join(parts)


def pair(codes: Sequence[Sequence[Step]], seed: int, prologue: str) -> Pair:
    """Both objects, and the map read off their symbols."""
    plain, want = (
        assemble(source(codes, slots, random.Random(seed), prologue)) for slots in (False, True)
    )
    found = boundaries(plain, want, [len(code) for code in codes])
    return Pair(plain, want, {plain.numbers[".text"]: OffsetMap(found)})


def boundaries(plain: Object, want: Object, lengths: Sequence[int]) -> list:
    """The edits of functions that follow each other in one section."""
    found = []
    first = shift = 0
    for length in lengths:
        grown = want.symbols[f"S{first}"] - plain.symbols[f"S{first}"] - shift
        if grown:
            found.append(padding(plain.symbols[f"S{first}"], grown))
        shift += grown
        inside = edits_from(plain, want, first, first + length, shift)
        found += inside
        shift += sum(edit.start for edit in inside)
        first += length + 1
    return found


def edits_from(plain: Object, want: Object, first: int, last: int, shift: int) -> list:
    """`assembled.edits` of a function that itself has moved by ``shift``."""
    moved = {name: value - shift for name, value in want.symbols.items()}
    return edits(plain, want._replace(symbols=moved), first, last)


def frames_only(old: Pair, name: str, eh: bool) -> None:
    section = old.plain.section(name)
    rewritten = frame.rewrite(section, old.maps, eh=eh)
    maps = dict(old.maps) | {section.number: rewritten.map}
    check(old, name, rewritten, maps)


@needs_assembler
@ASSEMBLED
@given(functions, st.integers(0, 1 << 32))
def test_both_sections_come_out_as_the_assembler_writes_them(
    codes: list[list[Step]], seed: int
) -> None:
    found = pair(codes, seed, ".cfi_sections .eh_frame, .debug_frame\n.cfi_startproc\n")
    frames_only(found, ".eh_frame", eh=True)
    frames_only(found, ".debug_frame", eh=False)


@needs_assembler
@ASSEMBLED
@given(functions, st.integers(0, 1 << 32))
def test_augmented_entries_come_out_as_the_assembler_writes_them(
    codes: list[list[Step]], seed: int
) -> None:
    found = pair(
        codes,
        seed,
        ".cfi_startproc\n.cfi_personality 0x94, personality\n.cfi_lsda 0x14, tables\n"
        ".cfi_signal_frame\n",
    )
    frames_only(found, ".eh_frame", eh=True)


# -- against a decoder ----------------------------------------------------------------------------


class Entry(NamedTuple):
    """An FDE to write: the code it describes, its instructions as (advance or None, bytes)."""

    start: int
    length: int
    program: list[tuple[int | None, bytes]]


OTHERS = [
    bytes.fromhex(code)
    for code in (
        "8501",  # DW_CFA_offset
        "c5",  # DW_CFA_restore
        "0e00",  # DW_CFA_def_cfa_offset
        "0e8001",
        "0a",  # DW_CFA_remember_state
        "0b",  # DW_CFA_restore_state
        "09417e",  # DW_CFA_register
        "1141c000",  # DW_CFA_offset_extended_sf
        "0f03444404",  # DW_CFA_def_cfa_expression
        "1041020244",  # DW_CFA_expression
        "2e8100",  # DW_CFA_GNU_args_size
        "2d",  # DW_CFA_GNU_window_save
    )
]


DW_CFA_MIPS_ADVANCE_LOC8 = 0x1D


def advance(units: int, width: int) -> bytes:
    """An advance with ``width`` operand bytes, 0 for the one-byte form."""
    if not width:
        return bytes((0x40 | units,))
    return bytes(({1: 2, 2: 3, 4: 4, 8: DW_CFA_MIPS_ADVANCE_LOC8}[width],)) + units.to_bytes(
        width, "little"
    )


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    found = []
    start = 0
    for _ in range(draw(st.integers(1, 5))):
        length = here = 0
        program: list[tuple[int | None, bytes]] = []
        for _ in range(draw(st.integers(0, 8))):
            if draw(st.booleans()):
                units = draw(st.sampled_from((0, 1, 2, 30, 62, 63, 64, 253, 255, 256, 65535)))
                least = 0 if units < 64 else 1 if units < 256 else 2
                width = draw(st.sampled_from([w for w in (0, 1, 2, 4, 8) if w >= least]))
                program.append((here + units, advance(units, width)))
                here += units
            else:
                program.append((None, draw(st.sampled_from(OTHERS))))
        length = 4 * (here + draw(st.integers(0, 3)))
        found.append(Entry(start, length, program))
        start += length + 4 * draw(st.integers(0, 2))
    return found


@st.composite
def maps_for(draw: st.DrawFn, found: list[Entry]) -> OffsetMap:
    end = found[-1].start + found[-1].length
    label_places = [
        entry.start + 4 * here for entry in found for here, _ in entry.program if here is not None
    ]
    places = st.one_of(
        st.integers(0, end // 4 + 1).map(lambda word: 4 * word),
        st.sampled_from([*label_places, *(entry.start + entry.length for entry in found)]),
    )
    chosen = draw(st.sets(places, max_size=8))
    result = []
    for place in chosen:
        result.append(slot(place, 4 * draw(st.integers(0, 3))))
        result.append(padding(place, 4 * draw(st.integers(0, 3))))
    return OffsetMap(result)


FORMATS = ["eh", "eh8", "debug3", "debug4", "debug64"]


def write(found: list[Entry], kind: str) -> tuple[bytes, list[int]]:
    """A section with one CIE and the FDEs in the given format, and its relocations' places."""
    wide = kind == "debug64"
    eh = kind.startswith("eh")
    pointer = 4 if kind == "eh" else 8
    head = b"\x01zR\0" if eh else b"\x04\0\x08\0" if kind == "debug4" else b"\x03\0"
    head += b"\x04\x78\x41" + (bytes((1, 0x1B if kind == "eh" else 0x1C)) if eh else b"")
    head += b"\x0c\x01\x00"
    result = bytearray()
    places = []

    def entry(identity: bytes, body: bytes) -> None:
        size = len(identity) + len(body)
        size += -(size + (12 if wide else 4)) % (4 if eh else 8)
        result.extend(b"\xff\xff\xff\xff" if wide else b"")
        result.extend(size.to_bytes(8 if wide else 4, "little"))
        result.extend((identity + body).ljust(size, b"\0"))

    id_size = 8 if wide else 4
    entry(bytes(id_size) if eh else b"\xff" * id_size, head)
    for fde in found:
        place = len(result) + (12 if wide else 4)
        places.append(place + id_size)
        identity = place if eh else 0
        entry(
            identity.to_bytes(id_size, "little"),
            bytes(pointer)
            + fde.length.to_bytes(pointer, "little")
            + (b"\0" if eh else b"")
            + b"".join(code for _, code in fde.program),
        )
    return bytes(result), places


def read(data: bytes, kind: str) -> list[tuple[int, list[object]]]:
    """(length, instructions) of each FDE; an advance is the place that it leads to, in bytes."""
    wide = kind == "debug64"
    eh = kind.startswith("eh")
    pointer = 4 if kind == "eh" else 8
    found: list[tuple[int, list[object]]] = []
    position = 0
    while position < len(data):
        size_at = position + (4 if wide else 0)
        body = size_at + (8 if wide else 4)
        end = body + int.from_bytes(data[size_at:body], "little")
        assert (end - 0) % (4 if eh else 8) == 0
        identity = int.from_bytes(data[body : body + (8 if wide else 4)], "little")
        if position:
            assert identity == (body if eh else 0), "the FDE finds its CIE"
            at = body + (8 if wide else 4) + pointer
            length = int.from_bytes(data[at : at + pointer], "little")
            found.append((length, list(instructions(data[at + pointer + eh : end]))))
        position = end
    return found


def instructions(code: bytes) -> list[object]:
    """The instructions of a program: places for advances, bytes for the rest."""
    code = bytes(code)
    found: list[object] = []
    here = 0
    for instruction in plain_frames.read(code):
        if instruction.units is not None:
            here += 4 * instruction.units
            found.append(here)
        elif instruction.opcode:
            found.append(code[instruction.place : instruction.end])
    return found


def read_by_pyelftools(data: bytes, kind: str) -> list[tuple[int, list[object]]]:
    """The same as `read`, by an independent reader."""
    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)
    stream = io.BytesIO(data)
    eh = kind.startswith("eh")
    found: list[tuple[int, list[object]]] = []
    for entry in CallFrameInfo(stream, len(data), 0, structs, for_eh_frame=eh).get_entries():
        if not isinstance(entry, FDE):
            continue
        here = 0
        decoded: list[object] = []
        for instruction in entry.instructions:
            opcode = int(instruction.opcode)
            if opcode >> 6 == 1 or opcode in (2, 3, 4):  # DW_CFA_advance_loc and its kin
                here += instruction.args[0] * entry.cie["code_alignment_factor"]
                decoded.append(here)
            elif opcode:
                decoded.append((opcode, repr(instruction.args)))
        found.append((entry["address_range"], decoded))
    return found


@LIMITS
@given(st.data(), st.sampled_from(FORMATS))
def test_what_is_read_from_the_result_is_the_map_of_what_was_written(
    data: st.DataObject, kind: str
) -> None:
    found = data.draw(entries())
    code_map = data.draw(maps_for(found))
    old, places = write(found, kind)
    relocations = Relocations(
        places, range(len(places)), [0] * len(places), [1] * len(places), [e.start for e in found]
    )
    section = Section(9, ".eh_frame", old, relocations)
    new = frame.rewrite(section, {1: code_map}, eh=kind.startswith("eh"))
    for fde, (length, decoded) in zip(found, read(new.data, kind), strict=True):
        start, end = fde.start, fde.start + fde.length
        base = code_map.start(start)
        assert length == (code_map.after(end) - base if fde.length else 0)
        expected: list[object] = []
        for here, code in fde.program:
            if here is None:
                expected.append(code)
            elif fde.length:
                label = start + 4 * here
                moved = code_map.after(label) if label == end else code_map.start(label)
                expected.append(moved - base)
            else:
                expected.append(0)
        # An advance by nothing may be left out.
        assert without_repeats(decoded) == without_repeats(expected)
    if bytes(new.data) == old:
        assert new.map is IDENTITY or not new.map
    codes = [code for fde in found for _, code in fde.program]
    if kind == "debug64" or any(code[0] == DW_CFA_MIPS_ADVANCE_LOC8 for code in codes):
        return  # pyelftools reads neither
    theirs, ours = (read_by_pyelftools(bytes(section), kind) for section in (old, new.data))
    for fde, (_, before), (length, after) in zip(found, theirs, ours, strict=True):
        start, end = fde.start, fde.start + fde.length
        base = code_map.start(start)

        def place(item: object, start: int = start, end: int = end, base: int = base) -> object:
            if not isinstance(item, int) or start == end:
                return 0 if isinstance(item, int) else item
            label = start + item
            return (code_map.after(label) if label == end else code_map.start(label)) - base

        assert length == (code_map.after(end) - base if fde.length else 0)
        assert without_repeats(after) == without_repeats([place(item) for item in before])


def without_repeats(found: list[object]) -> list[object]:
    here: object = 0
    result = []
    for item in found:
        if isinstance(item, int):
            if item == here:
                continue
            here = item
        result.append(item)
    return result


@LIMITS
@given(st.data(), st.sampled_from(FORMATS))
def test_the_dense_loop_finds_the_advances_that_a_plain_reader_finds(
    data: st.DataObject, kind: str
) -> None:
    found = data.draw(entries())
    code_map = data.draw(maps_for(found))
    old, places = write(found, kind)
    starts = [entry.start for entry in found]
    count = len(places)
    relocations = Relocations(places, range(count), [0] * count, [1] * count, starts)
    section = Section(9, ".eh_frame", old, relocations)
    for fde in frame.moved_functions(section, {1: code_map}, eh=kind.startswith("eh")):
        first = fde.instructions
        program = old[first : fde.entry.end]
        here = since = fde.start
        expected = []
        padding = 0
        for opcode, place, end, units in plain_frames.read(program):
            padding = end if opcode else padding
            if units is None:
                continue
            here += 4 * units
            if any(since < edit <= here for edit in code_map.places):
                expected.append((first + place, first + end, units, since, here))
                since = here
        got = frame.find(section, old, fde)
        assert [(a.place, a.end, a.units, a.since, a.label) for a in got.advances] == expected
        assert got.padding == first + padding


# -- single rules ---------------------------------------------------------------------------------

CIE = bytes.fromhex("10000000 00000000 01 7a5200 04 78 41 01 1b 0c0100")


def eh_frame(*programs: str, length: int = 0x100) -> Section:
    """FDEs with these instructions behind one CIE; each function has its own section, from 1."""
    data = bytearray(CIE)
    places = []
    for program in programs:
        body = bytes(4) + length.to_bytes(4, "little") + b"\0" + bytes.fromhex(program)
        body += bytes(-len(body) % 4)
        places.append(len(data) + 8)
        data += (len(body) + 4).to_bytes(4, "little")
        data += len(data).to_bytes(4, "little") + body
    count = len(places)
    relocations = Relocations(
        places, range(count), [0] * count, range(1, count + 1), [0x40] * count
    )
    return Section(20, ".eh_frame", bytes(data), relocations)


def test_a_function_that_holds_no_edit_keeps_its_bytes() -> None:
    section = eh_frame("44 0e20 48 0e00", "44 0e20")
    moved = {1: OffsetMap([slot(0x40), slot(0x144)]), 2: OffsetMap([slot(0x20), padding(0x140, 8)])}
    new = frame.rewrite(section, moved, eh=True)
    assert new.data is section.data
    assert new.map is IDENTITY


def test_the_slot_at_the_end_of_a_function_belongs_to_it() -> None:
    section = eh_frame("44 0e20")
    new = frame.rewrite(section, {1: OffsetMap([slot(0x140), padding(0x140, 12)])}, eh=True)
    assert new.data[len(CIE) + 12] == 0x04
    assert new.data[len(CIE) + 13] == 0x01


def test_an_advance_takes_the_smallest_form_that_holds_it() -> None:
    section = eh_frame("7f 0e20")
    new = frame.rewrite(section, {1: OffsetMap([slot(0x50)])}, eh=True)
    assert bytes(new.data[len(CIE) + 17 :]).rstrip(b"\0").hex() == "02400e20"


def test_a_form_wider_than_needed_is_kept() -> None:
    section = eh_frame("0407000000 0e20")
    new = frame.rewrite(section, {1: OffsetMap([slot(0x50)])}, eh=True)
    assert bytes(new.data[len(CIE) + 17 :]).rstrip(b"\0").hex() == "04080000000e20"


def test_entries_behind_one_that_grew_find_their_cie_and_their_relocations() -> None:
    section = eh_frame("7f 0e20 0a0b0a0b", "44 0e20")
    new = frame.rewrite(section, {1: OffsetMap([slot(0x50)])}, eh=True)
    assert len(new.data) == len(section.data) + 4
    second = section.relocations.places[1]
    assert new.map.start(second) == second + 4
    assert int.from_bytes(new.data[second : second + 4], "little") == second


def test_a_frame_of_a_discarded_function_stays() -> None:
    """``gold -r`` leaves it without a relocation."""
    section = eh_frame("44 0e20", "44 0e20")
    moved = {1: OffsetMap([slot(0x50)])}
    both = frame.rewrite(section, moved, eh=True).data
    own = section.relocations
    first, behind = own.places
    others = (own.symbol_sections, own.symbol_values)
    without = Relocations(own.places[1:], own.symbols[1:], own.addends[1:], *others)
    one = frame.rewrite(section._replace(relocations=without), moved, eh=True).data
    assert one[:behind] == section.data[:behind]
    assert one[behind:] == both[behind:]
    assert both[first:behind] != section.data[first:behind]


def test_without_any_relocation_nothing_says_whose_a_frame_is() -> None:
    section = eh_frame("44 0e20")._replace(relocations=Relocations())
    with pytest.raises(Unsupported, match="addresses of code without any relocation"):
        frame.rewrite(section, {1: OffsetMap([slot(0x50)])}, eh=True)
    assert frame.rewrite(section, {}, eh=True).data is section.data


def test_llvm_pads_the_last_entry_of_a_compilation_to_eight_bytes() -> None:
    section = eh_frame("7f 0e20 0a0b0a0b", "44 0e20 0a")
    padded = bytearray(section.data)
    last = section.relocations.places[1] - 8
    padded += bytes(-len(padded) % 8)
    padded[last : last + 4] = (len(padded) - last - 4).to_bytes(4, "little")
    section = section._replace(data=bytes(padded))
    moved = {1: OffsetMap([slot(0x50)])}
    wide = frame.rewrite(section, moved, eh=True, alignment=8)
    narrow = frame.rewrite(section, moved, eh=True, alignment=4)
    assert len(wide.data) % 8 == 0
    assert len(narrow.data) % 8 == 4


def test_call_site_tables_name_the_function_of_each_lsda() -> None:
    cie = bytes.fromhex("18000000 00000000 01 7a504c5200 04 78 41 07 1b 00000000 1b 1b 0c0100")
    cie = cie[:4] + cie[4:]
    cie = (len(cie) - 4).to_bytes(4, "little") + cie[4:] + b""
    body = bytes(4) + (0x100).to_bytes(4, "little") + b"\x04" + bytes(4) + bytes(3)
    fde = (len(body) + 4).to_bytes(4, "little") + (len(cie) + 4).to_bytes(4, "little") + body
    at = len(cie)
    relocations = Relocations([at + 8, at + 17], [0, 1], [0, 0x18], [3, 7], [0x40, 0])
    section = Section(20, ".eh_frame", cie + fde, relocations)
    assert frame.call_site_tables(section) == [
        frame.CallSites(Target(3, 0x40), 0x100, Target(7, 0x18))
    ]


# -- damage ---------------------------------------------------------------------------------------

DAMAGED: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("a length beyond the section", lambda d: b"\xff\xff\0\0" + d[4:], "past the section"),
    ("a reserved length", lambda d: b"\xf5\xff\xff\xff" + d[4:], "length"),
    (
        "a 4 GiB entry",
        lambda d: b"\xff" * 4 + (1 << 32).to_bytes(8, "little") + d,
        "past the section",
    ),
    ("no CIE where one should be", lambda d: d[:24] + b"\x07" + d[25:], "without a CIE"),
    ("an unknown version", lambda d: d[:8] + b"\x09" + d[9:], "version 9"),
    ("an unknown augmentation", lambda d: d[:9] + b"zQ" + d[11:], 'augmentation "zQ"'),
    ("a cut section", lambda d: d[:-3], "past the section"),
    ("an unknown instruction", lambda d: d[:-3] + b"\x3f\0\0", "DW_CFA 0x3f"),
    ("an endless number", lambda d: d[:-3] + b"\x0e\x80\x80", "cut-off"),
]


@pytest.mark.parametrize(
    ("damage", "message"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED]
)
def test_damage_is_refused_with_its_place(damage: Callable[[bytes], bytes], message: str) -> None:
    section = eh_frame("44 0e20 48 0a0b0a")
    section = section._replace(data=damage(section.data))
    with pytest.raises(Unsupported) as caught:
        frame.rewrite(section, {1: OffsetMap([slot(0x50)])}, eh=True)
    assert message in caught.value.found
    assert caught.value.section == ".eh_frame"
    assert caught.value.offset is not None


@settings(LIMITS, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6), st.booleans())
def test_random_damage_raises_nothing_else(changes: list[tuple[int, int]], eh: bool) -> None:
    section = eh_frame("44 0e20 48 0a0b0a", "7f 0e20 0407000000 0f020102", "1101028001")
    data = bytearray(section.data)
    for place, value in changes:
        data[place % len(data)] = value
    section = section._replace(data=bytes(data))
    moved = {1: OffsetMap([slot(0x50)]), 2: OffsetMap([slot(0x60), slot(0x140)])}
    with contextlib.suppress(Unsupported):
        new = frame.rewrite(section, moved, eh=eh)
        assert len(new.data) <= len(data) + 64
    with contextlib.suppress(Unsupported):
        assert len(frame.call_site_tables(section)) <= 3


def test_a_run_of_nops_is_passed_in_one_go() -> None:
    """A million of them in front of the last instruction, which would take hours otherwise."""
    section = eh_frame("44" + "00" * 1_000_000 + "44 0e20")
    new = frame.rewrite(section, {1: OffsetMap([slot(0x58)])}, eh=True)
    assert bytes(new.data).rstrip(b"\0").endswith(b"\x45\x0e\x20")


def test_leb128_operands_are_stepped_over_by_length() -> None:
    """Operands that look like advances, in front of the one that changes."""
    number = leb128.encode_unsigned(0x44, 4).hex()
    section = eh_frame(f"0e{number} 10{number}0244440f0344c444 50 0e20")
    new = frame.rewrite(section, {1: OffsetMap([slot(0x50)])}, eh=True)
    changed = [i for i, byte in enumerate(section.data) if byte != new.data[i]]
    assert [section.data[i] for i in changed] == [0x00, 0x50]
    assert [new.data[i] for i in changed] == [0x04, 0x51]
