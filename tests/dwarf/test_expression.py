"""Expressions: operands that name debugging entries move, everything else stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nopfix.dwarf import expression, leb128
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import OffsetMap, resize
from nopfix.dwarf.section import Relocations
from nopfix.dwarf.unit import Unit

UNIT = Unit(1, 16, 5, 4, 8, None, None)
GROWN = OffsetMap([resize(16 + 100, 60)])
"""What lies 100 bytes or more behind the unit's header moved by 60."""


def move(code: str | bytes, relocated: tuple[int, ...] = (), unit: Unit = UNIT) -> str | None:
    data = bytes.fromhex(code) if isinstance(code, str) else code
    relocations = Relocations(relocated, [0] * len(relocated), [0] * len(relocated), [1], [0])
    context = expression.Context(data, unit, GROWN, relocations, ".debug_loc")
    moved = expression.move(context, 0, len(data))
    return None if moved is None else moved.hex(" ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a8 46", None),  # DW_OP_convert of an entry in front of what grew
        ("a8 00", None),  # the generic type is no entry
        ("a8 64", "a8 a0 01"),
        ("a8 e4 00", "a8 a0 01"),  # a padded number keeps its room
        ("f7 64", "f7 a0 01"),
        ("a5 64 64", "a5 64 a0 01"),  # a register's number is no reference
        ("a6 08 64", "a6 08 a0 01"),
        ("a4 64 02 64 64", "a4 a0 01 02 64 64"),
        ("98 64 00", "98 a0 00"),
        ("99 64 00 00 00", "99 a0 00 00 00"),
        ("fa 64 00 00 00", "fa a0 00 00 00"),
        ("9a 74 00 00 00", "9a b0 00 00 00"),  # an offset from the section's start
        ("a0 74 00 00 00 64", "a0 b0 00 00 00 64"),
        ("10 64 23 64 91 64 a1 64", None),  # numbers
        ("9e 02 a8 64", None),  # the contents of a block are no operations
        ("a3 02 a8 64", "a3 03 a8 a0 01"),
        ("a3 04 a3 02 a8 64", "a3 05 a3 03 a8 a0 01"),
        # DW_OP_bra over a reference, and DW_OP_skip back over one
        ("28 02 00 a8 64 96", "28 03 00 a8 a0 01 96"),
        ("96 a8 64 2f fa ff", "96 a8 a0 01 2f f9 ff"),
    ],
)
def test_references_to_entries_move(old: str, new: str | None) -> None:
    assert move(old) == new


def test_a_relocated_operand_is_left_to_its_relocation() -> None:
    assert move("9a 74 00 00 00", relocated=(1,)) is None


def test_an_expression_that_grows_around_a_relocated_operand_is_refused() -> None:
    with pytest.raises(Unsupported, match="relocated operand"):
        move("03 00 00 00 00 00 00 00 00 a8 64", relocated=(1,))


def test_the_size_of_an_address_in_dwarf_2_is_that_of_its_references_to_sections() -> None:
    assert move("f2 74 00 00 00 00 00 00 00 01", unit=UNIT._replace(version=2)) is not None


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("e9 01", "unknown operation"),
        ("a8 ff ff", "without an end"),
        ("9e 7f 00", "without an end"),
        ("0e 00", "without an end"),
        ("28 01 00 a8 64", "middle of an operation"),
        ("a3 02 a3 01", "without an end"),
        ("98 f0 ff", "outgrows"),
    ],
)
def test_a_malformed_expression_is_refused(code: str, found: str) -> None:
    with pytest.raises(Unsupported, match=found):
        move(code)


def test_nesting_without_bound_is_refused() -> None:
    code = b""
    for _ in range(40):
        code = b"\xa3" + leb128.encode_unsigned(len(code)) + code
    with pytest.raises(Unsupported, match="nested"):
        move(code)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_but_unsupported(code: bytes) -> None:
    try:
        moved = move(code)
    except Unsupported:
        return
    assert moved is None or bytes.fromhex(moved)[:1] == code[:1]
