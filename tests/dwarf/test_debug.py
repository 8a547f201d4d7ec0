"""All debug sections of an object: compilers' own output, damaged input, unknown sections."""

from __future__ import annotations

import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from assembled import Step, needs_assembler, pair
from elftools.elf.elffile import ELFFile
from entries import COMPILE_UNIT, HIGH_PC, LOW_PC, Entry, Unit, Value, check_all, sections, units

from nopfix.dwarf import debug
from nopfix.dwarf.encodings import DW_FORM_addr, DW_FORM_data8
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.offset_map import OffsetMap, slot
from nopfix.dwarf.section import Relocations, Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CODE = [Step(call=i % 2 == 1) for i in range(8)]
TREE = Entry(
    COMPILE_UNIT, (Value(LOW_PC, DW_FORM_addr, "S0"), Value(HIGH_PC, DW_FORM_data8, "E8-S0"))
)

SOURCE = """
struct pair { int a; char *b; };
static int __attribute__((noinline)) f(int x, struct pair *p) { return x * p->a; }
static inline int g(int y, struct pair *p) {
  int i, r = 0;
  for (i = 0; i < y; i++) { int q = f(i, p); r += f(q, p) + f(q + 1, p); }
  return r;
}
int h(int z) {
  struct pair v = { z, 0 };
  int k = f(z, &v);
  { int w = g(k, &v); if (w > 3) return f(w, &v); k += w; }
  return k + g(k, &v);
}
"""

COMPILES = [
    ("powerpc64le-linux-gnu-gcc", "-gdwarf-2"),
    ("powerpc64le-linux-gnu-gcc", "-gdwarf-4"),
    ("powerpc64le-linux-gnu-gcc", "-gdwarf-5 -gdwarf64"),
    ("powerpc64le-linux-gnu-gcc", "-gdwarf-5 -gsplit-dwarf -ggnu-pubnames"),
    ("powerpc64le-linux-gnu-gcc", "-gdwarf-4 -gsplit-dwarf -fdebug-types-section"),
    ("clang-19 --target=powerpc64le-linux-gnu", "-gdwarf-5 -gpubnames -glldb"),
    ("clang-19 --target=powerpc64le-linux-gnu", "-gdwarf-5 -gsplit-dwarf=single"),
]


def read(path: Path) -> tuple[list[Section], dict[int, OffsetMap]]:
    """The debug sections of a file, and maps with a slot in every fourth word of its code."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        symbols = list(table.iter_symbols()) if table else []
        indices = [s["st_shndx"] if isinstance(s["st_shndx"], int) else 0 for s in symbols]
        values = [s["st_value"] for s in symbols]
        found, maps = [], {}
        for number, section in enumerate(elf.iter_sections()):
            if section["sh_flags"] & 4:
                size = section["sh_size"]
                maps[number] = OffsetMap(slot(offset) for offset in range(8, size, 16))
            if not section.name.startswith(".debug_") or section.name == ".debug_frame":
                continue
            rela = elf.get_section_by_name(".rela" + section.name)
            rows = sorted(
                (r["r_offset"], r["r_info_sym"], r["r_addend"])
                for r in (rela.iter_relocations() if rela else ())
            )
            columns = list(zip(*rows, strict=True)) or [(), (), ()]
            relocations = Relocations(*columns, indices, values)
            found.append(Section(number, section.name, section.data(), relocations))
    return found, maps


@pytest.fixture(scope="module", params=COMPILES, ids=lambda c: f"{c[0].split('-')[-1]} {c[1]}")
def compiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Section], dict[int, OffsetMap], list[list[Section]]]:
    """A compiler's object: its debug sections, maps, and those of its .dwo."""
    command, flags = request.param
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} isn't installed")
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "f.c").write_text(SOURCE)
    subprocess.run([*command.split(), *flags.split(), "-O2", "-c", "f.c"], cwd=folder, check=True)
    own, maps = read(folder / "f.o")
    dwo = folder / "f.dwo"
    return own, maps, [read(dwo)[0]] if dwo.exists() else []


def rewritten(
    found: tuple[Sequence[Section], Mapping[int, OffsetMap], Sequence[Sequence[Section]]],
) -> debug.Result:
    return debug.rewrite(*found)


def test_every_section_of_a_compiler_is_known(
    compiled: tuple[list[Section], dict[int, OffsetMap], list[list[Section]]],
) -> None:
    result = rewritten(compiled)
    changed = {s.name for s in compiled[0] if s.number in result.own}
    assert any(name.startswith(".debug_info") for name in changed) or result.split
    assert ".debug_line" in changed


def test_identity_changes_nothing(
    compiled: tuple[list[Section], dict[int, OffsetMap], list[list[Section]]],
) -> None:
    own, _, split = compiled
    result = debug.rewrite(own, {}, split)
    data = {section.number: section.data for section in own}
    assert all(bytes(new.data) == data[number] for number, new in result.own.items())
    assert not any(result.split)


def damage(section: Section, choice: random.Random) -> Section:
    """One byte, bit, run, cut or relocation of ``section`` changed."""
    data = bytearray(section.data)
    kind = choice.randrange(6)
    at = choice.randrange(len(data))
    if kind == 0:
        data[at] = choice.randrange(256)
    elif kind == 1:
        data[at : at + 4] = choice.choice((b"\xff" * 4, b"\x80" * 4, bytes(4)))[: len(data) - at]
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at:at] = choice.randbytes(choice.randrange(1, 9))
    elif section.relocations.places:
        old = section.relocations
        addends, symbols = list(old.addends), list(old.symbols)
        index = choice.randrange(len(addends))
        if kind == 4:
            addends[index] = choice.choice((-1, 1 << 62, addends[index] + 1))
        else:
            symbols[index] = choice.randrange(len(old.symbol_sections))
        relocations = Relocations(
            old.places, symbols, addends, old.symbol_sections, old.symbol_values
        )
        return section._replace(relocations=relocations)
    return section._replace(data=bytes(data))


def test_damage_is_refused_or_harmless(
    compiled: tuple[list[Section], dict[int, OffsetMap], list[list[Section]]],
) -> None:
    own, maps, split = compiled
    choice = random.Random(5)
    refused = 0
    for _ in range(250):
        files = [list(own), *(list(file) for file in split)]
        sections = choice.choice(files)
        index = choice.choice([i for i, section in enumerate(sections) if section.data])
        sections[index] = damage(sections[index], choice)
        try:
            debug.rewrite(files[0], maps, files[1:])
        except Unsupported:
            refused += 1
    assert 25 < refused < 250


@needs_assembler
def test_a_section_that_isnt_known_is_refused_by_name() -> None:
    found = pair({".text": CODE}, units(Unit(TREE)) + '.section .debug_new,"",@progbits\n.byte 1\n')
    with pytest.raises(Unsupported) as caught:
        debug.rewrite(sections(found), found.maps)
    assert caught.value.section == ".debug_new"
    assert "--strip-unknown-debug" in caught.value.remedy


@needs_assembler
def test_sections_of_strings_and_their_offsets_stay() -> None:
    text = '.section .debug_str,"MS",@progbits,1\n.asciz "x"\n'
    text += '.section .debug_str_offsets,"",@progbits\n.4byte 8\n.2byte 5, 0\n.4byte 0\n'
    found = pair({".text": CODE}, units(Unit(TREE)) + text)
    assert set(check_all(found)) == {".debug_info"}
