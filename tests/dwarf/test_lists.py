"""Location lists and range lists of every kind, against the assembler."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest
from assembled import Step, check, needs_assembler, pair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dwarf import loclists, rnglists
from dwarf.errors import Unsupported
from dwarf.section import Target
from dwarf.unit import AddressTable, ListUses, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assembled import Pair

CODE, OTHER = ".text", ".text.other"

# -- random code and random lists -----------------------------------------------------------------

steps = st.builds(
    Step,
    size=st.sampled_from((4, 4, 4, 8, 116, 4000)),
    call=st.booleans(),
    align=st.sampled_from((0, 0, 4)),
)
codes = st.lists(steps, min_size=6, max_size=12)


@st.composite
def spans(draw: st.DrawFn, first: int, last: int) -> tuple[str, str]:
    """Start and end labels of something in the code between two boundaries."""
    low = draw(st.integers(first, last - 1))
    high = draw(st.integers(low, last)) if draw(st.integers(0, 2)) else low
    if low == high:
        return f"S{low}", f"S{low}"
    end = draw(st.sampled_from((f"E{high}", f"E{high}", f"R{high}-1")))
    if low > first and draw(st.integers(0, 3)) == 0:
        return f"R{low}-1", end
    return f"S{low}", end


class Writer:
    """Writes entries of one encoding; ``kinds`` are the DWARF 5 numbers of its section."""

    def __init__(self, kinds: dict[str, int], located: bool) -> None:
        self.kinds = kinds
        self.located = located
        self.addresses: list[str] = []

    def index(self, label: str) -> int:
        self.addresses.append(label)
        return len(self.addresses) - 1

    def expression(self, size: int) -> str:
        return f".uleb128 {size}\n.space {size}, 0x30\n" if self.located else ""

    def entry(self, kind: str, base: str, start: str, end: str, size: int) -> str:
        """One entry; ``base`` is the label that offsets count from."""
        body = {
            "startx_length": lambda: f".uleb128 {self.index(start)}, {end}-({start})",
            "offset_pair": lambda: f".uleb128 {start}-{base}, {end}-{base}",
            "start_end": lambda: f".8byte {start}, {end}",
            "start_length": lambda: f".8byte {start}\n.uleb128 {end}-({start})",
            "startx_endx": lambda: f".uleb128 {self.index(start)}, {self.index(end)}",
            "default_location": lambda: "",
            "view_pair": lambda: ".uleb128 3, 300",
        }[kind]()
        expression = "" if kind == "view_pair" else self.expression(size)
        return f".byte {self.kinds[kind]}\n{body}\n{expression}"

    def base(self, kind: str, label: str) -> str:
        body = f".8byte {label}" if kind == "base_address" else f".uleb128 {self.index(label)}"
        return f".byte {self.kinds[kind]}\n{body}\n"


LLE = {
    "base_addressx": 1,
    "startx_endx": 2,
    "startx_length": 3,
    "offset_pair": 4,
    "default_location": 5,
    "base_address": 6,
    "start_end": 7,
    "start_length": 8,
    "view_pair": 9,
}
RLE = {
    "base_addressx": 1,
    "startx_endx": 2,
    "startx_length": 3,
    "offset_pair": 4,
    "base_address": 5,
    "start_end": 6,
    "start_length": 7,
}


@st.composite
def lists(draw: st.DrawFn, writer: Writer, first: int, last: int, other: tuple[int, int]) -> str:
    """The entries of one list, without its end."""
    base = "S0"
    low, high = first, last
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.integers(0, 4)) == 0:
            low, high = draw(st.sampled_from(((first, last), other)))
            base = f"S{draw(st.integers(low, high - 1))}"
            low = int(base[1:])
            parts.append(
                writer.base(draw(st.sampled_from(("base_address", "base_addressx"))), base)
            )
        names = [name for name in writer.kinds if not name.startswith("base")]
        kind = draw(st.sampled_from(names))
        start, end = draw(spans(low, high))
        if kind == "startx_endx":
            # An end by index moves as its entry does, so it is one that padding leaves alone.
            end = start
        if start.endswith("-1") and kind == "offset_pair" and start[1:-2] == base[1:]:
            start = base
        parts.append(writer.entry(kind, base, start, end, draw(st.sampled_from((1, 2, 130)))))
    return "".join(parts)


def header(label: str, count: int, offset_size: int = 4) -> str:
    """The header of a DWARF 5 list table with an offset table of ``count`` entries."""
    escape = ".4byte 0xffffffff\n" if offset_size == 8 else ""
    offsets = "".join(f".{offset_size}byte {label}{i}-{label}table\n" for i in range(count))
    return (
        f"{escape}.{offset_size}byte {label}end-{label}begin\n{label}begin:\n"
        f".2byte 5\n.byte 8, 0\n.4byte {count}\n{label}table:\n{offsets}"
    )


def unit(pair: Pair, base: str | None = "S0") -> Unit:
    """A unit whose base is the label ``base`` and whose address table is the whole .debug_addr."""
    target = None if base is None else Target(pair.plain.numbers[CODE], pair.plain.symbols[base])
    addresses = None
    if ".debug_addr" in pair.plain.numbers:
        section = pair.plain.section(".debug_addr")
        addresses = AddressTable(section.number, len(section.data), 0, 8, section.relocations)
    return Unit(99, 0, 5, 4, 8, target, addresses)


def uses(pair: Pair, labels: Sequence[str], whose: Unit, views: dict[str, str]) -> list[ListUses]:
    symbols = pair.plain.symbols
    return [
        ListUses(
            whose,
            "locations",
            0,
            array("Q", [symbols[label] for label in labels]),
            {symbols[one]: symbols[other] for one, other in views.items()},
            None,
        )
    ]


@needs_assembler
@pytest.mark.parametrize("name", [".debug_loclists", ".debug_rnglists"])
def test_dwarf_5_lists_of_all_kinds_come_out_as_the_assembler_writes_them(
    name: str,
) -> None:
    located = name == ".debug_loclists"

    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        code, other = data.draw(codes), data.draw(codes)
        border = len(code)
        apart = (border + 1, border + 1 + len(other))
        writer = Writer(LLE if located else RLE, located)
        count = data.draw(st.integers(8, 25))
        offset_size = data.draw(st.sampled_from((4, 8)))
        body, views = "", {}
        for i in range(count):
            if located and data.draw(st.booleans()):
                body += f"V{i}:\n.uleb128 0, 5, 200, 1\n"
                views[f"L{i}"] = f"V{i}"
            body += f"L{i}:\n{data.draw(lists(writer, 0, border, apart))}.byte 0\n"
        text = f'.section {name},"",@progbits\n{header("L", count, offset_size)}{body}Lend:\n'
        text += '.section .debug_addr,"",@progbits\n'
        text += "".join(f".8byte {label}\n" for label in writer.addresses)
        both = pair({CODE: code, OTHER: other}, text)
        unreferenced = data.draw(st.sets(st.integers(1, count), max_size=2)) if not views else ()
        labels = [f"L{i}" for i in range(count) if i not in unreferenced]
        found = uses(both, labels, unit(both), views)
        rewrite = loclists.rewrite if located else rnglists.rewrite
        check(both, name, rewrite(both.plain.section(name), found, both.maps).rewritten, both.maps)

    run()


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
