"""Lists of address pairs (DWARF 2 to 4), against the assembler."""

from __future__ import annotations

import pytest
from assembled import Step, check, needs_assembler, pair
from list_sections import CODE, unit, uses

from nopfix.dwarf import loclists, rnglists
from nopfix.dwarf.errors import Unsupported


def pairs(*entries: tuple[str, str], located: bool = True) -> str:
    """Entries of .debug_loc or .debug_ranges, offsets from S0, without the end of their list."""
    expression = ".2byte 1\n.byte 0x53\n" if located else ""
    return "".join(f".8byte {start}-S0, {end}-S0\n{expression}" for start, end in entries)


SHORT = [Step(call=i % 2 == 0) for i in range(8)]
NO_MORE = ".8byte 0, 0\n"


def check_pairs(name: str, body: str, *labels: str) -> None:
    """Rewrite a section whose lists are at ``labels`` and compare it with the assembler's."""
    both = pair({CODE: SHORT}, f'.section {name},"",@progbits\n{body}')
    found = uses(both, labels, unit(both)._replace(version=4), {})
    rewrite = loclists.rewrite if "loc" in name else rnglists.rewrite
    check(both, name, rewrite(both.plain.section(name), found, both.maps).rewritten, both.maps)


@needs_assembler
@pytest.mark.parametrize("empty", [1, 2])
def test_what_an_empty_entry_cuts_off_of_its_list_moves_with_it(empty: int) -> None:
    # LLVM's DWARF 4: an entry from the base to the base reads as the end of the list.
    begin = pairs(*[("S0", "S0")] * empty)
    first = f"L1:\n{begin}{pairs(('S1', 'E4'), ('S4', 'E6'))}{NO_MORE}"
    second = f"L2:\n{pairs(('S2', 'E7'))}{NO_MORE}"
    check_pairs(".debug_loc", first + second, "L1", "L2")
    check_pairs(".debug_loc", second + first, "L1", "L2")


@needs_assembler
def test_a_list_that_nobody_refers_to_moves_with_its_neighbours() -> None:
    lists = [pairs(("S1", "E4"), ("S4", "E6")), pairs(("S2", "E3")), pairs(("S3", "E7"))]
    body = "".join(f"L{i}:\n{text}{NO_MORE}" for i, text in enumerate(lists))
    check_pairs(".debug_loc", body, "L0", "L2")
    ranges = body.replace(".2byte 1\n.byte 0x53\n", "")
    check_pairs(".debug_ranges", ranges, "L0", "L2")


@needs_assembler
def test_an_unreferenced_list_with_an_empty_expression_is_no_rest_of_another() -> None:
    # 0x10, 0x18 and no bytes could be an expression of 16 bytes, but for what that would say.
    odd = pairs(("S4", "E6")).replace(".2byte 1\n.byte 0x53\n", ".2byte 0\n")
    last = pairs(("S2", "E7")) + NO_MORE
    check_pairs(".debug_loc", f"L1:\n{NO_MORE}{odd}{NO_MORE}L2:\n{last}", "L1", "L2")


def addressed(*entries: tuple[str, str]) -> str:
    """Entries of .debug_loc with addresses that the assembler leaves to relocations."""
    return "".join(f".8byte {start}, {end}\n.2byte 1\n.byte 0x53\n" for start, end in entries)


@needs_assembler
def test_view_numbers_of_a_list_that_nobody_refers_to_stay() -> None:
    # GCC 12 at -O2 -gdwarf-4: gcc.c-torture/execute/pr82210.c.
    views = ".uleb128 0, 0, 0, 0, 0, 0, 0, 0\n"
    lost = addressed(("S1", "S2"), ("S2", "E3"), ("S4", "S5"), ("S5", "E6"))
    first, last = addressed(("S0", "E4")), addressed(("S2", "E7"))
    body = f"L1:\n{first}{NO_MORE}{views}{lost}{NO_MORE}L2:\n{last}{NO_MORE}"
    check_pairs(".debug_loc", body, "L1", "L2")


@needs_assembler
def test_bytes_that_are_neither_a_list_nor_its_view_numbers_are_refused() -> None:
    lost = addressed(("S1", "S2"), ("S2", "E3"))
    body = f"L1:\n{addressed(('S0', 'E4'))}{NO_MORE}.fill 10, 1, 0\n{lost}{NO_MORE}"
    both = pair({CODE: SHORT}, f'.section .debug_loc,"",@progbits\n{body}')
    found = uses(both, ["L1"], unit(both)._replace(version=4), {})
    with pytest.raises(Unsupported, match="a list that ends inside another one"):
        loclists.rewrite(both.plain.section(".debug_loc"), found, both.maps)


@needs_assembler
def test_bytes_that_read_as_a_list_and_as_the_rest_of_one_are_refused() -> None:
    # As a list: an entry with very high addresses and an expression of 0x606 bytes.  As the rest of
    # one: an expression of 16 bytes and an entry with one of 1524 bytes.
    odd = ".byte 16, 0\n.fill 6, 1, 0x30\n.fill 8, 1, 0x31\n.byte 6, 6\n"
    odd += ".8byte S1-S0, E4-S0\n.2byte 1524\n.fill 1524, 1, 0x96\n" + NO_MORE
    body = f"L1:\n{NO_MORE}{odd}L2:\n{pairs(('S2', 'E7'))}{NO_MORE}"
    both = pair({CODE: SHORT}, f'.section .debug_loc,"",@progbits\n{body}')
    found = uses(both, ["L1", "L2"], unit(both)._replace(version=4), {})
    with pytest.raises(Unsupported, match="read in two ways"):
        loclists.rewrite(both.plain.section(".debug_loc"), found, both.maps)
