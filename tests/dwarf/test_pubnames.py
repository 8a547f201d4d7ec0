"""Sets of public names follow the entries that they name, against the assembler."""

from __future__ import annotations

import pytest
from assembled import needs_assembler, pair
from entries import COMPILE_UNIT, Entry, Unit, check_all, units
from growing import CODE, LOW, grown, types

from nopfix.dwarf import pubnames
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import OffsetMap, resize
from nopfix.dwarf.section import Relocations, Section
from nopfix.dwarf.unit import MovedEntries, file_of


def names_of(number: int, offset: str, flags: str) -> str:
    """A set of .debug_pubnames or of its kin."""
    entries = "".join(f'{offset} D{number}_{n}-U{number}\n{flags}\n.asciz "{n}"\n' for n in "ba")
    wide = "8" in offset
    length = ".4byte -1\n.8byte 2f-1f" if wide else ".4byte 2f-1f"
    return f"""
    {length}
    1: .2byte 2
    {offset} U{number}, Z{number}-U{number}
    {entries}
    {offset} 0
    2:
    """


@needs_assembler
@pytest.mark.parametrize("wide", [False, True])
def test_every_set_of_names_follows_its_unit(wide: bool) -> None:
    offset = ".8byte" if wide else ".4byte"
    written = [
        Unit(Entry(COMPILE_UNIT, (LOW,), (*grown(), *types(0))), wide=wide),
        Unit(Entry(COMPILE_UNIT, (LOW,), (*types(1), *grown())), wide=wide),
    ]
    text = units(*written)
    flags = {".debug_pubnames": "", ".debug_gnu_pubnames": ".byte 0x30"}
    flags |= {".debug_pubtypes": "", ".debug_gnu_pubtypes": ".byte 0x90"}
    for name, flag in flags.items():
        text += f'.section {name},"",@progbits\n'
        text += "".join(names_of(number, offset, flag) for number in (1, 0))
    rewritten = check_all(pair({".text": CODE}, text))
    assert rewritten[".debug_info"].map
    assert set(flags) <= set(rewritten)


def test_a_set_of_names_without_an_end_is_refused() -> None:
    data = bytes.fromhex("0e000000 0200 00000000 40000000 10000000")
    section = Section(3, ".debug_pubnames", data, Relocations([6], [0], [0], [1], [0]))
    file = file_of([section, Section(1, ".debug_info", bytes(0x40), Relocations())])
    grown = MovedEntries({1: OffsetMap([resize(0x20, 1)])}, {})
    with pytest.raises(Unsupported, match="without an end"):
        pubnames.rewrite(section, file, grown)


def test_sets_of_names_stay_where_no_entry_moves() -> None:
    section = Section(3, ".debug_pubnames", b"\xff", Relocations())
    assert pubnames.rewrite(section, file_of([section]), MovedEntries({}, {})) is None
