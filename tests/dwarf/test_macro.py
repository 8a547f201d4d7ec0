"""Macro information: nothing in it moves, so what has to be shown is that all of it is known."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile

from nopfix.dwarf import macro
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.section import Relocations, Section

if TYPE_CHECKING:
    from pathlib import Path

UNIT = "0500 02 00000000 03 00 01 01 05 41203100 05 05 10000000 07 20000000 04 00"
"""DWARF 5, an offset into .debug_line at 3, a file with a macro in each form, an import."""


def section(code: str, *relocated: int) -> Section:
    data = bytes.fromhex(code)
    count = len(relocated)
    columns = Relocations(relocated, [0] * count, [0] * count, [1], [0])
    return Section(7, ".debug_macro", data, columns)


def test_every_unit_of_a_section_is_read() -> None:
    wide = "0400 01 0b 01 02 0c 01 02 0a 0000000000000000 00"
    second = len(bytes.fromhex(UNIT + wide))
    assert macro.rewrite(section(UNIT + wide + UNIT, 3, second + 3), {}) is None


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("0600 00 00", "version 6"),
        ("0500 04 00", "producer defines"),
        ("0500 00 e0 00 00", "unknown operation DW_MACRO 0xe0"),
        ("0500 02 00000000 00", "without relocation"),
        ("0500 00 01 05 41", "without an end"),
        ("0500 00 07 00", "without an end"),
        ("0500", "without an end"),
    ],
)
def test_what_isnt_known_is_refused_in_any_unit(code: str, found: str) -> None:
    size = len(bytes.fromhex(UNIT))
    for before, places in (("", ()), (UNIT, (3,))):
        with pytest.raises(Unsupported, match=found) as caught:
            macro.rewrite(section(before + code, *places), {})
        assert caught.value.offset is not None
        assert caught.value.offset >= (size if before else 0)


@pytest.mark.parametrize("flags", ["-g3 -gdwarf-5", "-g3 -gdwarf-4", "-g3 -gdwarf-5 -gdwarf64"])
def test_a_compilers_macros_are_known(flags: str, tmp_path: Path) -> None:
    compiler = shutil.which("powerpc64le-linux-gnu-gcc")
    if compiler is None:
        pytest.skip("needs powerpc64le-linux-gnu-gcc")
    (tmp_path / "f.c").write_text("#include <stddef.h>\n#define A(x) x\n#undef A\nint f;\n")
    command = [compiler, *flags.split(), "-c", "f.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    read = 0
    with (tmp_path / "f.o").open("rb") as file:
        elf = ELFFile(file)
        for part in elf.iter_sections():
            if part.name == ".debug_macro":
                # Any relocation will do: that it is there is what counts.
                places = Relocations([3], [0], [0], [1], [0])
                macro.rewrite(Section(1, part.name, part.data(), places), {})
                read += 1
    assert read > 1
