"""DWARF 5 lists with entries of every kind, against the assembler."""

from __future__ import annotations

import pytest
from assembled import Step, check, needs_assembler, pair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from list_sections import CODE, OTHER, unit, uses

from nopfix.dwarf import loclists, rnglists

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
