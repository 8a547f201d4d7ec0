"""Entries by label: the same object, and one in which an entry may grow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nopfix.corpus import compare, entries, toolchain

SOURCE = """
struct pair { int a; struct pair *next; double d; };
static int __attribute__((noinline)) f(int x, struct pair *p) { return x * p->a; }
static inline int g(int y, struct pair *p) { int q = f(y, p); return f(q, p) + (int) p->d; }
int h(float z, struct pair *p) { int k = g(z, p); return g(k, p->next) + f(z * 2, p); }
"""


@pytest.fixture(params=["-gdwarf-4", "-gdwarf-5"])
def text(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """GCC's assembly with a split unit."""
    (tmp_path / "f.c").write_text(SOURCE)
    flags = ("-O2", "-g", request.param, "-gsplit-dwarf")
    try:
        command = toolchain.compile_command(
            toolchain.Tools("gcc-12"), flags, Path("f.c"), Path("f.s")
        )
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    assert toolchain.run(command, cwd=tmp_path).status == 0
    return (tmp_path / "f.s").read_text()


def assembled(text: str, folder: Path) -> bytes:
    (folder / "f.s").write_text(text)
    command = [toolchain.binutil("as"), "-mlittle", "-a64", "-o", "f.o", "f.s"]
    done = toolchain.run(command, cwd=folder)
    assert done.status == 0, done.errors
    return (folder / "f.o").read_bytes()


def test_labels_change_nothing(text: str, tmp_path: Path) -> None:
    found = entries.labelled(text)
    assert found is not None
    assert len(re.findall(r"^\.Lentry_", found, re.MULTILINE)) > 20
    assert len(re.findall(r"\.4byte\s+\.Lentry_", found)) > 20
    assert compare.differences(assembled(found, tmp_path), assembled(text, tmp_path)) == []


def test_an_entry_that_grows_moves_what_is_behind_it(text: str, tmp_path: Path) -> None:
    found = entries.labelled(text)
    assert found is not None
    wider = re.sub(r"\.byte(\s+0x\w+\s+# DW_AT_encoding)", r".2byte\1", found)
    growth = wider.count(".2byte") - found.count(".2byte")
    sizes = [
        {s.name: s.data for s in compare.read(assembled(one, tmp_path)).sections}[".debug_info.dwo"]
        for one in (text, wider)
    ]
    assert len(sizes[1]) == len(sizes[0]) + growth > len(sizes[0])
    old, new = (int.from_bytes(data[:4], "little") for data in sizes)
    assert new - old == len(sizes[1]) - len(sizes[0])


def test_a_text_without_split_unit_is_left_alone() -> None:
    assert entries.labelled('\t.section\t.debug_info,"",@progbits\n.Ldebug_info0:\n') is None


def test_a_reference_to_no_entry_is_not_guessed_at(text: str) -> None:
    broken = re.sub(r"(\.4byte\s+)0x\w+(\s*# DW_AT_type)", r"\g<1>0xfff1\2", text, count=1)
    assert broken != text
    assert entries.labelled(broken) is None
