"""Language-specific data areas against the assembler, and against a decoder of its own."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from assembled import ASSEMBLED, Pair, Step, assemble, check, edits, needs_assembler, text
from hypothesis import given, settings
from hypothesis import strategies as st

from nopfix.dwarf import leb128, lsda
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.frame import CallSites
from nopfix.dwarf.offset_map import IDENTITY, OffsetMap, padding, slot
from nopfix.dwarf.section import Relocations, Section, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMITS = settings(max_examples=80, deadline=None, database=None, derandomize=True)
NAME = ".gcc_except_table"

# -- against the assembler ------------------------------------------------------------------------


class Table(NamedTuple):
    """What an LSDA is like: its call sites' encoding, the size of its types, how much it holds.

    ``types`` is the number of types (0: no type table), ``specifications`` of lists behind them.
    """

    encoding: int
    type_size: int
    types: int
    specifications: int
    actions: int
    sites: int


def written(
    table: Table, number: int, first: int, last: int, choice: random.Random, llvm: bool
) -> str:
    """The assembly of LSDA ``number`` as GCC or LLVM writes it, for the boundaries first..last."""
    field = {1: ".uleb128", 2: ".2byte", 3: ".4byte", 4: ".8byte"}[table.encoding]
    lines = []
    aligned = ".balign 4" if llvm else f".balign {table.type_size}"
    if table.types or llvm:
        lines.append(aligned)
    lines += [f"L{number}:", ".byte 0xff"]
    if table.types:
        lines.append(f".byte {0x94 if table.type_size == 8 else 0x9B}")
        lines.append(f".uleb128 T{number}-D{number}")
    else:
        lines.append(".byte 0xff")
    lines += [f"D{number}:", f".byte {table.encoding}", f".uleb128 C{number}-B{number}"]
    lines.append(f"B{number}:")
    actions = table.actions if table.types else 0
    for site in range(table.sites):
        low = choice.randint(first, last - 1)
        high = choice.randint(low + 1, last)
        pad = choice.choice(("0", f"S{choice.randint(first, last - 1)}-S{first}"))
        # Every action is named: the last one by the last site.
        action = actions if site == table.sites - 1 else choice.randint(0, actions)
        lines.append(f"{field} S{low}-S{first}, E{high}-S{low}, {pad}")
        lines.append(f".uleb128 {2 * action - 1 if action else 0}")
    lines.append(f"C{number}:")
    for action in range(actions):
        kind = choice.randint(1, table.types)
        if table.specifications and (action == actions - 1 or not choice.randrange(4)):
            kind = -(2 * choice.randrange(table.specifications) + 1)
        lines.append(f".sleb128 {kind}, {0 if not action or choice.randrange(2) else -3}")
    if table.types:
        lines.append(aligned)
        field = ".8byte" if table.type_size == 8 else ".4byte"
        lines += [f"{field} type{index}-." for index in range(table.types)]
        lines.append(f"T{number}:")
        lines += [".uleb128 1, 0"] * table.specifications
    if llvm:
        lines.append(aligned)
    return "\n".join(lines) + "\n"


def both(
    codes: Sequence[Sequence[Step]], tables: Sequence[Table], seed: int, llvm: bool = False
) -> Pair:
    """Functions with an LSDA each, without and with the slots, and the map of the code."""
    objects = []
    firsts = [sum(len(code) + 1 for code in codes[:number]) for number in range(len(codes))]
    for slots in (False, True):
        choice = random.Random(seed)
        parts = []
        for number, (first, code, table) in enumerate(zip(firsts, codes, tables, strict=True)):
            parts.append(f'.section .text.f{number},"ax",@progbits\n{text(code, slots, first)}')
            parts.append(f'.section {NAME},"a",@progbits\n')
            parts.append(written(table, number, first, first + len(code), choice, llvm))
        objects.append(assemble("".join(parts)))
    plain, want = objects
    maps = {
        plain.numbers[f".text.f{number}"]: OffsetMap(edits(plain, want, first, first + len(code)))
        for number, (first, code) in enumerate(zip(firsts, codes, strict=True))
    }
    return Pair(plain, want, maps)


def check_tables(found: Pair, codes: Sequence[Sequence[Step]], alignment: int) -> None:
    section = found.plain.section(NAME)
    symbols = found.plain.symbols
    functions = []
    first = 0
    for number, code in enumerate(codes):
        function = Target(found.plain.numbers[f".text.f{number}"], symbols[f"S{first}"])
        length = symbols[f"E{first + len(code)}"] - symbols[f"S{first}"]
        functions.append(CallSites(function, length, Target(section.number, symbols[f"L{number}"])))
        first += len(code) + 1
    new = lsda.rewrite(section, functions, found.maps, alignment=alignment)
    check(found, NAME, new, found.maps)
    for number in range(len(codes)):
        assert new.map.start(symbols[f"L{number}"]) == found.want.symbols[f"L{number}"]


steps = st.builds(
    Step,
    size=st.sampled_from((4, 4, 8, 96, 112, 120, 4000, 16200)),
    call=st.booleans(),
    align=st.just(0),
)
codes = st.lists(steps, min_size=1, max_size=12)
tables = st.builds(
    Table,
    encoding=st.sampled_from((1, 1, 1, 2, 3, 4)),
    type_size=st.just(8),
    types=st.integers(0, 4),
    specifications=st.integers(0, 2),
    actions=st.integers(1, 8),
    sites=st.integers(1, 20),
)


@needs_assembler
@ASSEMBLED
@given(
    st.lists(st.tuples(codes, tables), min_size=1, max_size=8),
    st.integers(0, 1 << 32),
    st.sampled_from((4, 8)),
)
def test_the_tables_come_out_as_the_assembler_writes_them(
    functions: list[tuple[list[Step], Table]], seed: int, type_size: int
) -> None:
    found = [code for code, _ in functions]
    shapes = [table._replace(type_size=type_size) for _, table in functions]
    # Section alignment 4 is LLVM's, and 1 what GCC leaves when there are no types.
    alignment = 8 if type_size == 8 else 16
    check_tables(both(found, shapes, seed), found, alignment)


@needs_assembler
@pytest.mark.parametrize("sites", range(1, 9))
@pytest.mark.parametrize("types", [0, 2])
def test_llvm_aligns_what_follows_the_last_table_too(types: int, sites: int) -> None:
    # clang 19 -O0: g++.dg/torture/pr40389.C.  The offsets pass 127, each at a cost of a byte.
    shape = [Step(size=4, call=True, align=0)] * 20
    table = Table(encoding=1, type_size=8, types=types, specifications=1, actions=2, sites=sites)
    for seed in range(4):
        found = both([shape, shape], [table, table], seed, llvm=True)
        check_tables(found, [shape, shape], 4)


@needs_assembler
@pytest.mark.parametrize("sites", [15, 17])
def test_a_base_offset_takes_its_second_byte_where_the_assembler_gives_it_one(sites: int) -> None:
    """Tables of every size around 128 bytes, before the slots and behind."""
    choice = random.Random(sites)
    shapes = []
    found = []
    for actions in range(1, 33):
        shapes.append(Table(1, 8, choice.randint(1, 4), choice.randint(0, 1), actions, sites))
        found.append(
            [Step(choice.choice((4, 40, 120)), choice.random() < 0.6) for _ in range(6)]
            + [Step(4, call=True)]
        )
    objects = both(found, shapes, sites)
    sizes = [
        assembled.symbols[f"D{number}"] - assembled.symbols[f"L{number}"]
        for assembled in objects[:2]
        for number in range(32)
    ]
    assert set(sizes) == {3, 4}
    check_tables(objects, found, 8)


# -- against a decoder ----------------------------------------------------------------------------


class Site(NamedTuple):
    start: int
    length: int
    pad: int
    action: int


def encode(sites: Sequence[Site], size: int) -> bytes:
    """An LSDA without types around these call sites (``size`` 0: ULEB128)."""
    body = bytearray()
    for site in sites:
        for value in site[:3]:
            body += value.to_bytes(size, "little") if size else leb128.encode_unsigned(value)
        body += leb128.encode_unsigned(site.action)
    encoding = {0: 1, 2: 2, 4: 3, 8: 4}[size]
    return bytes((0xFF, 0xFF, encoding)) + leb128.encode_unsigned(len(body)) + bytes(body)


def decode(data: bytes, size: int) -> list[Site]:
    def field(position: int) -> tuple[int, int]:
        if size:
            return int.from_bytes(data[position : position + size], "little"), position + size
        return leb128.unsigned(data, position)

    length, position = leb128.unsigned(data, 3)
    end = position + length
    found = []
    while position < end:
        start, position = field(position)
        extent, position = field(position)
        pad, position = field(position)
        action, position = leb128.unsigned(data, position)
        found.append(Site(start, extent, pad, action))
    assert position == end
    return found


words = st.integers(0, 80).map(lambda word: 4 * word)
sites_lists = st.lists(
    st.builds(Site, start=words, length=words, pad=words, action=st.just(0)), max_size=8
)
code_maps = st.dictionaries(
    words, st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=10
).map(
    lambda found: OffsetMap(
        edit
        for place, (own, extra) in found.items()
        for edit in (slot(0x40 + place, 4 * own), padding(0x40 + place, 4 * extra))
    )
)


@LIMITS
@given(sites_lists, st.sampled_from((0, 2, 4, 8)), code_maps)
def test_what_is_read_from_the_result_is_the_map_of_what_was_written(
    sites: list[Site], size: int, code_map: OffsetMap
) -> None:
    section = Section(9, NAME, encode(sites, size), Relocations())
    function = CallSites(Target(1, 0x40), 0x300, Target(9, 0))
    new = lsda.rewrite(section, [function], {1: code_map})
    base = code_map.start(0x40)
    expected = []
    for start, length, pad, action in sites:
        begin = code_map.start(0x40 + start)
        extent = code_map.after(0x40 + start + length) - begin if length else 0
        expected.append(
            Site(begin - base, extent, code_map.start(0x40 + pad) - base if pad else 0, action)
        )
    assert decode(bytes(new.data), size) == expected


# -- single rules ---------------------------------------------------------------------------------


def one(data: str, *places: int) -> Section:
    """A section from hexadecimal digits; ``places`` are relocated."""
    count = len(places)
    relocations = Relocations(places, range(count), [0] * count, [1] * count, [0x40] * count)
    return Section(9, NAME, bytes.fromhex(data), relocations)


FUNCTION = CallSites(Target(1, 0), 0x400, Target(9, 0))
MOVED = {1: OffsetMap([slot(0x10)])}


def test_a_function_that_holds_no_edit_keeps_its_table() -> None:
    section = one("ffff0104 04081000")
    new = lsda.rewrite(section, [FUNCTION], {1: OffsetMap([slot(0), padding(0x400, 8)])})
    assert new.data is section.data
    assert new.map is IDENTITY


def test_landing_pads_count_from_lpstart_where_there_is_one() -> None:
    section = one("1b00000000 ff0104 04081000", 1)
    moved = {1: OffsetMap([slot(0x44)])}
    new = lsda.rewrite(section, [FUNCTION], moved)
    assert new.data[-4:].hex() == "04081400"


def test_an_lpstart_that_is_a_number_is_refused() -> None:
    with pytest.raises(Unsupported, match="LPStart"):
        lsda.rewrite(one("0000000000 ff0104 04081000"), [FUNCTION], MOVED)


def test_a_padded_number_keeps_its_width() -> None:
    new = lsda.rewrite(one("ffff0106 8800 9000 1800"), [FUNCTION], MOVED)
    assert bytes(new.data).hex() == "ffff0106880094001c00"


def test_a_fixed_field_that_no_longer_holds_its_number_is_refused() -> None:
    section = one("ffff0207 0000 ffff 0000 00")
    function = FUNCTION._replace(length=0x10000)
    with pytest.raises(Unsupported, match="0xffff can't become 0x10003"):
        lsda.rewrite(section, [function], MOVED)


def test_functions_that_share_a_table_have_to_move_alike() -> None:
    section = one("ffff0104 04081000")
    other = FUNCTION._replace(function=Target(2, 0))
    alike = MOVED | {2: OffsetMap([slot(0x10)])}
    assert lsda.rewrite(section, [FUNCTION, other], alike).data[-4:].hex() == "04081400"
    with pytest.raises(Unsupported, match="move differently"):
        lsda.rewrite(section, [FUNCTION, other], MOVED | {2: OffsetMap([slot(4)])})


def test_a_table_outside_the_section_is_refused() -> None:
    section = one("ffff0104 04081000")
    for offset in (-1, 8):
        with pytest.raises(Unsupported, match="outside"):
            lsda.rewrite(section, [FUNCTION._replace(lsda=Target(9, offset))], MOVED)


def test_a_table_that_no_function_names_is_kept() -> None:
    """``ld -r`` leaves the tables of discarded functions."""
    section = one("ffff0104 04081000 ffff0104 04081800")
    new = lsda.rewrite(section, [FUNCTION], MOVED)
    assert bytes(new.data).hex() == "ffff010404081400ffff010404081800"


# -- damage ---------------------------------------------------------------------------------------

# LPStart omitted; types of 4 bytes, base offset; call sites; an action; padding; a type.
GOOD = "ff9b10 0104 04100801 0100 00000000 00000000"

DAMAGED: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("types in front of the table's end", lambda d: d[:2] + b"\x02" + d[3:], "lengths"),
    ("types beyond the section", lambda d: d[:2] + b"\x7f" + d[3:], "lengths"),
    ("an unknown encoding of types", lambda d: d[:1] + b"\x07" + d[2:], "DW_EH_PE 0x7"),
    ("an unknown encoding of call sites", lambda d: d[:3] + b"\x05" + d[4:], "DW_EH_PE 0x5"),
    ("a section that ends in a call site", lambda d: d[:6], "lengths"),
    ("an action beyond the section", lambda d: d[:7] + b"\x7f" + d[8:], "too early"),
    ("an endless number", lambda d: d[:-1] + b"\x80", "too early"),
]


@pytest.mark.parametrize(
    ("damage", "message"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED]
)
def test_damage_is_refused_with_its_place(damage: Callable[[bytes], bytes], message: str) -> None:
    section = one(GOOD if message != "too early" else "ffff01 04 04100801 0100")
    section = section._replace(data=damage(section.data))
    with pytest.raises(Unsupported) as caught:
        lsda.rewrite(section, [FUNCTION], MOVED)
    assert message in caught.value.found
    assert caught.value.section == NAME
    assert caught.value.offset is not None


@settings(LIMITS, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=5))
def test_random_damage_raises_nothing_else(changes: list[tuple[int, int]]) -> None:
    section = one("ff9b150108 04100801 14041803 0100017d00 000000 00000000 00000000 0100")
    data = bytearray(section.data)
    for place, value in changes:
        data[place % len(data)] = value
    section = section._replace(data=bytes(data))
    with contextlib.suppress(Unsupported):
        new = lsda.rewrite(section, [FUNCTION], MOVED)
        assert len(new.data) <= len(data) + 64
