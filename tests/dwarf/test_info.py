"""Debugging entries: reading them, and the constants in them, against the assembler."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from assembled import Step, needs_assembler, pair
from entries import (
    BASE_TYPE,
    CALL_PC,
    CALL_RETURN_PC,
    CALL_SITE,
    COMPILE_UNIT,
    DECL_LINE,
    ENTRY_PC,
    GNU_CALL_SITE,
    HIGH_PC,
    LEXICAL_BLOCK,
    LOCATION,
    LOW_PC,
    NAME,
    SIBLING,
    START_SCOPE,
    SUBPROGRAM,
    TYPE,
    VARIABLE,
    Entry,
    Unit,
    Value,
    check_all,
    sections,
    units,
)

from dwarf import debug, forms, info
from dwarf.errors import Unsupported
from dwarf.forms import (
    DW_FORM_addr,
    DW_FORM_data1,
    DW_FORM_data2,
    DW_FORM_data4,
    DW_FORM_data8,
    DW_FORM_data16,
    DW_FORM_exprloc,
    DW_FORM_implicit_const,
    DW_FORM_indirect,
    DW_FORM_ref1,
    DW_FORM_ref2,
    DW_FORM_ref4,
    DW_FORM_ref8,
    DW_FORM_ref_addr,
    DW_FORM_ref_udata,
    DW_FORM_sdata,
    DW_FORM_string,
    DW_FORM_udata,
)
from dwarf.unit import file_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CODE = [Step(call=i % 2 == 1, align=4 if i % 7 == 6 else 0) for i in range(24)]
LAST = len(CODE)


def compile_unit(*children: Entry, values: Sequence[Value] = ()) -> Entry:
    low = Value(LOW_PC, DW_FORM_addr, "S0")
    return Entry(
        COMPILE_UNIT, (low, Value(HIGH_PC, DW_FORM_data8, f"E{LAST}-S0"), *values), children
    )


def block(start: int, end: int, form: int, *children: Entry, tag: int = LEXICAL_BLOCK) -> Entry:
    values = (Value(LOW_PC, DW_FORM_addr, f"S{start}"), Value(HIGH_PC, form, f"E{end}-S{start}"))
    return Entry(tag, values, children)


# -- reading --------------------------------------------------------------------------------------


def every_form() -> Iterator[Value]:
    """A value of each form; names don't matter for stepping over."""
    texts = {
        "string": "text",
        "block1": ".byte 1,2",
        "block2": ".byte 1",
        "block4": "",
        "block": "",
        "addrx_offset": "0,0",
    }
    for form, size in sorted(forms.SIZES.items()):
        if form == DW_FORM_indirect:
            continue
        text = texts.get(size, "300" if size in ("leb128", 16) else "5")
        yield Value(0x2100 + form % 100, form, text)


@needs_assembler
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("wide", [False, True])
def test_entries_begin_where_the_assembler_put_them(version: int, wide: bool) -> None:
    some = [v for v in every_form() if version == 5 or v.form < 0x1A]
    direct = tuple(
        Entry(VARIABLE, (v, Value(DECL_LINE, DW_FORM_data2, "7")), label=f"D{i}")
        for i, v in enumerate(some)
    )
    indirect = tuple(
        Entry(VARIABLE, (Value(v.name, DW_FORM_indirect, v.text, v.form),), label=f"I{i}")
        for i, v in enumerate(some)
        if v.form != DW_FORM_implicit_const
    )
    tree = compile_unit(*direct, *indirect, block(2, 9, DW_FORM_data4))
    written = units(Unit(tree, version, wide))
    found = pair({".text": CODE}, written)
    section = found.plain.section(".debug_info")
    file = file_of(sections(found))
    (header,) = info.headers(file, section)
    table = info.survey(file, {}, {})[section.number][0].table
    begins = {place - 1 for _, place, _, _ in info.walk(section.data, header, table)}
    labels = {found.plain.symbols[entry.label] for entry in (*direct, *indirect)}
    assert len(labels) == len(direct) + len(indirect)
    assert labels < begins


@needs_assembler
def test_an_abbreviation_code_of_two_bytes_is_read() -> None:
    children = tuple(Entry(BASE_TYPE, (Value(0x2000 + i, DW_FORM_data1, "1"),)) for i in range(150))
    check_all(
        pair({".text": CODE}, units(Unit(compile_unit(*children, block(1, 9, DW_FORM_data4)))))
    )


# -- constants and sides --------------------------------------------------------------------------


@needs_assembler
@pytest.mark.parametrize(
    "form", [DW_FORM_data1, DW_FORM_data2, DW_FORM_data4, DW_FORM_data8, DW_FORM_data16]
)
@pytest.mark.parametrize("version", [4, 5])
def test_a_length_reaches_from_the_new_start_to_the_new_end(form: int, version: int) -> None:
    tree = compile_unit(*(block(i, j, form) for i in range(1, 9) for j in range(i + 1, 20, 3)))
    rewritten = check_all(pair({".text": CODE}, units(Unit(tree, version))))
    assert ".debug_info" in rewritten


@needs_assembler
def test_an_empty_range_stays_empty_behind_new_padding() -> None:
    empty = tuple(
        Entry(
            LEXICAL_BLOCK,
            (Value(LOW_PC, DW_FORM_addr, f"S{i}"), Value(HIGH_PC, DW_FORM_data4, "0")),
        )
        for i in range(LAST)
    )
    code = [Step(call=True, align=4), *CODE[1:]]
    check_all(pair({".text": code}, units(Unit(compile_unit(*empty)))))


@needs_assembler
def test_an_end_as_an_address_moves_behind_the_slot_and_in_front_of_padding() -> None:
    values = [
        (Value(LOW_PC, DW_FORM_addr, f"S{i}"), Value(HIGH_PC, DW_FORM_addr, f"E{i + 2}"))
        for i in range(LAST - 2)
    ]
    tree = compile_unit(*(Entry(LEXICAL_BLOCK, value) for value in values))
    check_all(pair({".text": CODE}, units(Unit(tree, 3))))


@needs_assembler
def test_return_addresses_stay_in_front_of_the_slot() -> None:
    calls = [i + 1 for i, step in enumerate(CODE) if step.call]
    sites = [Entry(CALL_SITE, (Value(CALL_RETURN_PC, DW_FORM_addr, f"R{i}"),)) for i in calls]
    gnu = [Entry(GNU_CALL_SITE, (Value(LOW_PC, DW_FORM_addr, f"R{i}"),)) for i in calls]
    label = [Entry(0x0A, (Value(LOW_PC, DW_FORM_addr, f"S{i}"),)) for i in calls]
    label += [Entry(CALL_SITE, (Value(CALL_PC, DW_FORM_addr, f"S{i - 1}"),)) for i in calls]
    check_all(pair({".text": CODE}, units(Unit(compile_unit(*sites, *gnu, *label)))))


@needs_assembler
def test_entry_points_move_as_addresses_and_as_offsets() -> None:
    def entry(start: int, at: int, *entry_pc: Value) -> Entry:
        return Entry(SUBPROGRAM, (*block(start, 20, DW_FORM_data8).values, *entry_pc))

    tree = compile_unit(
        *(entry(i, i + 3, Value(ENTRY_PC, DW_FORM_addr, f"S{i + 3}")) for i in range(9)),
        *(entry(i, i + 3, Value(ENTRY_PC, DW_FORM_data2, f"S{i + 3}-S{i}")) for i in range(9)),
        *(entry(i, i + 3, Value(ENTRY_PC, DW_FORM_udata, f"S{i + 3}-S{i}")) for i in range(9)),
    )
    check_all(pair({".text": CODE}, units(Unit(tree))))


@needs_assembler
def test_an_entry_point_counts_from_the_enclosing_scope() -> None:
    scopes = tuple(
        Entry(VARIABLE, (Value(START_SCOPE, form, f"S{i}-S2"),))
        for i in range(3, 20)
        for form in (DW_FORM_data2, DW_FORM_udata)
    )
    check_all(
        pair({".text": CODE}, units(Unit(compile_unit(block(2, 22, DW_FORM_data4, *scopes)))))
    )


@needs_assembler
def test_a_form_that_only_the_entry_tells_is_moved_too() -> None:
    low = Value(LOW_PC, DW_FORM_indirect, "S1", DW_FORM_addr)
    entries = (
        Entry(SUBPROGRAM, (low, Value(HIGH_PC, DW_FORM_indirect, "E9-S1", DW_FORM_data4))),
        Entry(SUBPROGRAM, (low, Value(HIGH_PC, DW_FORM_indirect, "E9-S1", DW_FORM_udata))),
        Entry(SUBPROGRAM, (low, Value(HIGH_PC, DW_FORM_indirect, "E9", DW_FORM_addr))),
        Entry(CALL_SITE, (Value(CALL_RETURN_PC, DW_FORM_indirect, "R2", DW_FORM_addr),)),
    )
    check_all(pair({".text": CODE}, units(Unit(compile_unit(*entries)))))


@needs_assembler
def test_several_code_sections_each_have_their_map() -> None:
    tree = compile_unit(
        block(2, 10, DW_FORM_data4),
        block(LAST + 3, LAST + 9, DW_FORM_data4),
        block(LAST + 1, LAST + 21, DW_FORM_data8),
    )
    check_all(pair({".text": CODE, ".text.cold": CODE}, units(Unit(tree), Unit(tree, 4, True))))


# -- when entries grow ----------------------------------------------------------------------------

LONG = [Step(size=64), *(Step(call=True) for _ in range(12)), *CODE]


def growing_tree(choice: random.Random, unit: int) -> Entry:
    """Entries with lengths as ULEB128 around 127 bytes, and references between them."""
    count = 30
    labels = [f"D{unit}_{i}" for i in range(count)]
    children = []
    for label in labels:
        other = choice.choice(labels)
        near = choice.choice((DW_FORM_ref4, DW_FORM_ref8, DW_FORM_ref2, DW_FORM_ref_udata))
        end = choice.randrange(6, 30)
        values = [
            Value(LOW_PC, DW_FORM_addr, "S0"),
            Value(HIGH_PC, DW_FORM_udata, f"E{end}-S0"),
            Value(TYPE, near, f"{other}-U{unit}"),
            Value(SIBLING, DW_FORM_ref_addr, other),
            Value(CALL_SITE, DW_FORM_exprloc, expression(choice, labels, unit)),
        ]
        children.append(Entry(SUBPROGRAM, tuple(values), label=label))
    return compile_unit(*children)


def expression(choice: random.Random, labels: Sequence[str], unit: int) -> str:
    def label() -> str:
        return choice.choice(labels)

    return choice.choice(
        (
            f".byte 0xa8\n.uleb128 {label()}-U{unit}",  # DW_OP_convert
            f".byte 0xa5\n.uleb128 3, {label()}-U{unit}",  # DW_OP_regval_type
            f".byte 0x99\n.4byte {label()}-U{unit}",  # DW_OP_call4
            f".byte 0x98\n.2byte {label()}-U{unit}",  # DW_OP_call2
            f".byte 0x9a\n.4byte {label()}",  # DW_OP_call_ref
            f".byte 0xa0\n.4byte {label()}\n.sleb128 -4",  # DW_OP_implicit_pointer
            f".byte 0xa4\n.uleb128 {label()}-U{unit}\n.byte 2,7,7",  # DW_OP_const_type
            # DW_OP_entry_value around a DW_OP_convert
            f".byte 0xa3\n.uleb128 6f-5f\n5:.byte 0xa8\n.uleb128 {label()}-U{unit}\n6:",
            # DW_OP_bra over an operation that may grow
            f".byte 0x28\n.2byte 6f-5f\n5:.byte 0xa8\n.uleb128 {label()}-U{unit}\n6:.byte 0x96",
        )
    )


@needs_assembler
@pytest.mark.parametrize("seed", range(6))
def test_references_follow_entries_that_grow(seed: int) -> None:
    choice = random.Random(seed)
    written = [Unit(growing_tree(choice, i)) for i in range(2)]
    rewritten = check_all(pair({".text": LONG}, units(*written)))
    assert rewritten[".debug_info"].map, "nothing grew: the test shows nothing"


@needs_assembler
def test_a_signed_length_grows_too() -> None:
    # gas writes differences of labels as .sleb128 in a form of its own; so plain numbers here.
    values = (Value(LOW_PC, DW_FORM_addr, "S0"), Value(HIGH_PC, DW_FORM_sdata, "60"))
    code = [Step(size=56), Step(call=True), Step()]
    found = pair({".text": code}, units(Unit(Entry(COMPILE_UNIT, values))))
    rewritten = debug.rewrite(sections(found), found.maps).own[found.plain.numbers[".debug_info"]]
    assert bytes(rewritten.data[-2:]) == b"\xc0\0"  # 64 takes two bytes as a signed number
    assert rewritten.data[0] == found.plain.contents[".debug_info"][0] + 1


@needs_assembler
def test_the_offset_of_a_type_unit_follows() -> None:
    unit = Unit(
        compile_unit(
            Entry(SUBPROGRAM, (Value(LOW_PC, DW_FORM_addr, "S0"),
                               Value(HIGH_PC, DW_FORM_udata, "E12-S0"))),
            Entry(BASE_TYPE, (), label="T"),
        ),
        kind=2,
        more=".8byte 0x1234\n.4byte T-U0",
    )  # fmt: skip
    rewritten = check_all(pair({".text": LONG}, units(unit)))
    assert rewritten[".debug_info"].map


@needs_assembler
def test_a_sibling_of_one_byte_that_would_overflow_is_refused() -> None:
    many = tuple(Entry(BASE_TYPE, (Value(NAME, DW_FORM_string, "x" * 30),)) for _ in range(7))
    grown = Entry(
        SUBPROGRAM, (Value(LOW_PC, DW_FORM_addr, "S0"), Value(HIGH_PC, DW_FORM_udata, "E12-S0"))
    )
    sibling = Entry(VARIABLE, (Value(SIBLING, DW_FORM_ref1, "255"),))
    found = pair({".text": LONG}, units(Unit(compile_unit(grown, *many, sibling))))
    with pytest.raises(Unsupported, match="doesn't fit"):
        debug.rewrite(sections(found), found.maps)


# -- refused --------------------------------------------------------------------------------------


def refused(tree: Entry, version: int = 5) -> Unsupported:
    found = pair({".text": CODE}, units(Unit(tree, version)))
    with pytest.raises(Unsupported) as caught:
        debug.rewrite(sections(found), found.maps)
    return caught.value


@needs_assembler
def test_a_length_that_all_entries_of_an_abbreviation_share_is_refused() -> None:
    values = (
        Value(LOW_PC, DW_FORM_addr, "S1"),
        Value(HIGH_PC, DW_FORM_implicit_const, "16"),
    )
    assert "implicit_const" in refused(compile_unit(Entry(SUBPROGRAM, values))).found


@needs_assembler
def test_a_length_that_outgrows_its_field_is_refused() -> None:
    values = (Value(LOW_PC, DW_FORM_addr, "S0"), Value(HIGH_PC, DW_FORM_data1, "252"))
    code = [Step(size=240), *(Step(call=True) for _ in range(3))]
    found = pair({".text": code}, units(Unit(Entry(COMPILE_UNIT, values))))
    with pytest.raises(Unsupported, match="doesn't fit 1 bytes") as caught:
        debug.rewrite(sections(found), found.maps)
    assert caught.value.section == ".debug_info"
    assert caught.value.offset == len(found.plain.contents[".debug_info"]) - 1


@needs_assembler
@pytest.mark.parametrize("name", [LOW_PC, HIGH_PC, ENTRY_PC, CALL_RETURN_PC, CALL_PC])
def test_an_address_in_a_form_of_another_class_is_refused(name: int) -> None:
    tree = compile_unit(Entry(SUBPROGRAM, (Value(name, DW_FORM_ref4, "8"),)))
    assert "form of no address, 0x13" in refused(tree).found


@needs_assembler
def test_a_length_without_a_start_is_refused() -> None:
    tree = compile_unit(Entry(SUBPROGRAM, (Value(HIGH_PC, DW_FORM_data4, "8"),)))
    assert "DW_AT_low_pc" in refused(tree).found


@needs_assembler
def test_an_entry_that_runs_past_its_unit_is_refused() -> None:
    tree = compile_unit(Entry(VARIABLE, (Value(LOCATION, DW_FORM_exprloc, ".byte 0x96"),)))
    found = pair({".text": CODE}, units(Unit(tree)))
    data = bytearray(found.plain.contents[".debug_info"])
    data[-3] = 0x7F
    broken = [
        s._replace(data=bytes(data)) if s.name == ".debug_info" else s for s in sections(found)
    ]
    with pytest.raises(Unsupported, match="past the unit's end"):
        debug.rewrite(broken, found.maps)
