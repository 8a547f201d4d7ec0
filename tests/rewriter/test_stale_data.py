"""Nothing that a debugger reads is left stale: what other rewriters have got wrong.

A compiler's object is rewritten and read by pyelftools and readelf.  Where an offset has to be now
follows from the report alone: each nop in front of it makes 4 bytes (there is no padding here).
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from nopfix import rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DWARFInfo

TARGET = "powerpc64le-linux-gnu"
pytestmark = pytest.mark.skipif(
    shutil.which(f"{TARGET}-gcc") is None, reason=f"{TARGET}-gcc isn't installed"
)

SOURCE = """
int sink, seen[4];
static int f(int x);
int first(int x) { return f(x) + f(x + 1); }
static __attribute__((noinline)) int f(int x) { sink = x; return x * 3; }
static __attribute__((noinline)) int twice(int (*p)(int), int x) { return p(x) + p(x + 1); }
static inline __attribute__((always_inline)) int inlined(int y, int *a) {
  int q = f(y);
  for (int i = 0; i < y; i++) q += f(q) - a[i & 3];
  return f(q + 1);
}
int g(int z) {
  int (*p)(int) = f;
  int k = inlined(z, seen);
  k += f(k); k += f(k + 1); k -= f(k + 2); k += f(k + 3); k -= f(k + 4); k += f(k * 2); k ^= f(k);
  p = z > 3 ? f : 0;
  k += inlined(k, seen + 1);
  if (p) k += f(k) - f(k + 3);
  p = f;
  k += f(k * 3) + inlined(k * 2, seen);
  return twice(p, k) + f(k);
}
"""
FLAGS = ["-gdwarf-3", "-gdwarf-4", "-gdwarf-5", "-gdwarf-4 -gdwarf64", "-gdwarf-5 -gdwarf64"]
"""DWARF64 too: everything that holds of one format holds of the other."""


class Both(NamedTuple):
    """The object before and after, and where the nops went in (old offsets into .text)."""

    old: bytes
    new: bytes
    nops: list[int]

    def start(self, offset: int) -> int:
        """Where what begins or ends at an old offset is now: behind the nop."""
        return offset + 4 * sum(nop <= offset for nop in self.nops)

    def before(self, offset: int) -> int:
        """Where the return address at an old offset is now."""
        return offset + 4 * sum(nop < offset for nop in self.nops)


@pytest.fixture(scope="module", params=FLAGS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("stale")
    (folder / "f.c").write_text(SOURCE)
    # -Os: functions aren't aligned.  Without asynchronous tables the frames are in .debug_frame.
    flags = f"-Os -fno-toplevel-reorder -fno-asynchronous-unwind-tables {request.param}".split()
    subprocess.run([f"{TARGET}-gcc", *flags, "-c", "f.c"], cwd=folder, check=True)
    old = (folder / "f.o").read_bytes()
    result = rewrite(old)
    new = bytes(result.data)
    nops = [insertion.old_offset for insertion in result.report.insertions]
    sizes = [elf(data).get_section_by_name(".text")["sh_size"] for data in (old, new)]
    assert sizes[1] - sizes[0] == 4 * len(nops) > 60
    return Both(old, new, nops)


def elf(data: bytes) -> ELFFile:
    return ELFFile(io.BytesIO(data))


def dwarf_of(data: bytes) -> DWARFInfo:
    return elf(data).get_dwarf_info()


def entries(data: bytes) -> Iterator[DIE]:
    for unit in dwarf_of(data).iter_CUs():
        yield from unit.iter_DIEs()


def values(data: bytes, attribute: str) -> list[tuple[str, int]]:
    """The tag and the value of every entry with an attribute."""
    return [
        (die.tag, die.attributes[attribute].value)
        for die in entries(data)
        if attribute in die.attributes
    ]


def readelf(data: bytes, what: str, folder: Path) -> str:
    (folder / "read.o").write_bytes(data)
    command = [f"{TARGET}-readelf", f"--debug-dump={what}", "--wide", "read.o"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_where_an_inlined_function_is_entered_moves(both: Both) -> None:
    old, new = (values(data, "DW_AT_entry_pc") for data in (both.old, both.new))
    assert new == [(tag, both.start(value)) for tag, value in old]
    assert len(old) >= 3
    assert new != old


def test_the_end_of_a_function_stays_what_its_form_says(both: Both) -> None:
    """An address since DWARF 2, a length where the form is a constant (DWARF 4)."""
    moved = 0
    for old, new in zip(entries(both.old), entries(both.new), strict=True):
        if "DW_AT_high_pc" not in old.attributes or "DW_AT_low_pc" not in old.attributes:
            continue
        (low, high), (new_low, new_high) = (
            [die.attributes[name] for name in ("DW_AT_low_pc", "DW_AT_high_pc")]
            for die in (old, new)
        )
        assert new_high.form == high.form
        assert new_low.value == both.start(low.value)
        base, new_base = (0, 0) if high.form == "DW_FORM_addr" else (low.value, new_low.value)
        assert new_base + new_high.value == both.start(base + high.value)
        moved += new_high.value != high.value
    assert moved >= 3


def test_call_sites_are_found_by_the_return_address(both: Both) -> None:
    names = {"DW_TAG_call_site": "DW_AT_call_return_pc", "DW_TAG_GNU_call_site": "DW_AT_low_pc"}
    sites = [
        (old.attributes[names[old.tag]].value, new.attributes[names[old.tag]].value)
        for old, new in zip(entries(both.old), entries(both.new), strict=True)
        if old.tag in names
    ]
    assert {old for old, _ in sites} >= set(both.nops)
    assert all(new == both.before(old) for old, new in sites)


def test_location_views_go_with_their_lists(both: Both, tmp_path: Path) -> None:
    shown = [readelf(data, "loc", tmp_path) for data in (both.old, both.new)]
    views = [re.findall(r"(v\w+) (v\w+) (?:location view pair|views at)", text) for text in shown]
    assert views[0] == views[1]
    assert len(views[0]) > 20
    places = [re.findall(r"views at (\w+) for:", text) for text in shown]
    assert len(places[0]) == len(places[1])
    if "loclists" in shown[0]:
        assert places[0] != places[1], "no list grew: the test shows nothing"


def test_an_address_in_a_location_list_moves(both: Both, tmp_path: Path) -> None:
    old, new = (
        next(s["st_value"] for s in table.iter_symbols() if s.name == "f")
        for table in (elf(data).get_section_by_name(".symtab") for data in (both.old, both.new))
    )
    assert new == both.start(old) != old
    found = [
        [int(address, 16) for address in re.findall(r"DW_OP_addr: (\w+)", text)]
        for text in (readelf(data, "loc", tmp_path) for data in (both.old, both.new))
    ]
    assert found[0].count(old) == found[1].count(new) > 0


def test_the_frames_of_a_debugger_are_not_forgotten(both: Both) -> None:
    """.debug_frame, where there is no .eh_frame."""
    assert elf(both.old).get_section_by_name(".eh_frame") is None
    rows = moved = 0
    old, new = (
        [entry for entry in dwarf_of(data).CFI_entries() if isinstance(entry, FDE)]
        for data in (both.old, both.new)
    )
    assert len(old) == len(new) == 4
    for before, after in zip(old, new, strict=True):
        start, size = before["initial_location"], before["address_range"]
        new_start, new_size = after["initial_location"], after["address_range"]
        assert new_start == both.start(start)
        assert new_start + new_size == both.start(start + size)
        tables = [entry.get_decoded().table for entry in (before, after)]
        for row, new_row in zip(*tables, strict=True):
            # Rules are objects that compare by identity.
            assert repr(new_row) == repr(row | {"pc": both.start(row["pc"])})
            rows += 1
            moved += new_row["pc"] - new_start != row["pc"] - start
    assert rows > 10
    assert moved >= 3
