"""Inlined subroutines, read entry by entry with pyelftools and stepped over."""

from __future__ import annotations

import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from elftools.elf.elffile import ELFFile

from tests.kpatch import subroutines

if TYPE_CHECKING:
    from pathlib import Path

    from elftools.dwarf.die import DIE

TEXT = """
struct list { struct list *next; union { int i; double d; struct { char c[3]; } s; } u; };
enum kind { A, B = 300, C = -1 };
int outer(const struct list *, enum kind);
static const double large[40] = { 1.5, 2.5, [39] = 3 };
static inline int twice(int x) { return outer(0, A) + x + (int)large[x & 31]; }
static inline int four(int x) { { int y = twice(x); { return twice(y) + y; } } }
static __attribute__((noinline)) int local(struct list *l) {
  struct in { int a; }; struct in i = { l->u.i };
  return four(i.a) + outer(l, B);
}
static inline void each(struct list *l) { for (; l; l = l->next) if (four(l->u.i)) each(l->next); }
int caller(struct list *l, int n) {
  int deep(int x) { return twice(x + n); }
  each(l);
  return local(l) + deep(n) + four(n);
}
"""


def plain(file: ELFFile) -> Counter[str]:
    """The inlined subroutines by pyelftools' own tree of entries."""
    found: Counter[str] = Counter()
    for unit in file.get_dwarf_info().iter_CUs():
        _count(unit.get_top_DIE(), "", found)
    return found


def _count(entry: DIE, caller: str, found: Counter[str]) -> None:
    for child in entry.iter_children():
        if child.tag == "DW_TAG_subprogram":
            _count(child, _name(child), found)
        elif child.tag == "DW_TAG_inlined_subroutine":
            chain = f"{caller} <- {_name(child)}"
            found[chain] += 1
            _count(child, chain, found)
        elif child.tag == "DW_TAG_lexical_block":
            _count(child, caller, found)


def _name(entry: DIE) -> str:
    attributes: dict[str, Any] = entry.attributes
    if "DW_AT_name" in attributes:
        return str(attributes["DW_AT_name"].value, "utf-8", "replace")
    for origin in ("DW_AT_abstract_origin", "DW_AT_specification"):
        if origin in attributes:
            return _name(entry.get_DIE_from_attribute(origin))
    return ""


@pytest.mark.parametrize("options", ["-O2 -gdwarf-5", "-O2 -gdwarf-4", "-O3 -gdwarf-5", "-O1 -g3"])
def test_stepping_over_entries_finds_what_reading_each_of_them_finds(
    tmp_path: Path, options: str
) -> None:
    source, made = tmp_path / "t.c", tmp_path / "t.o"
    source.write_text(TEXT)
    command = ("powerpc64le-linux-gnu-gcc", *options.split(), "-c", source, "-o", made)
    subprocess.run(command, check=True)
    with made.open("rb") as stream:
        file = ELFFile(stream)
        found = subroutines.inlined(file)
        assert found == plain(file)
        assert found["caller <- four"]
        assert found["caller <- four <- twice"]
