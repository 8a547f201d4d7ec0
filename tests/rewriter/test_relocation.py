"""The table of relocation types: each type at each kind of place, against the assembler.

Every type lies once in front of, between and behind insertions, in code and in data, and names
spots in front of it and behind it; the object with the nops in the text says what should become of
place and addend.  What a type is used for is said here by its name, not by the table.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, get_args

import pytest

from nopfix import rewrite
from nopfix.rewriter.object import elf
from nopfix.rewriter.options import Options
from nopfix.rewriter.power import relocation
from nopfix.rewriter.power.relocation import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Assemble = Callable[..., bytes]

MARKERS = (
    *("NONE", "TLS", "TLSGD", "TLSLD", "TOCSAVE", "ENTRY", "PLTSEQ", "PLTCALL", "PLTSEQ_NOTOC"),
    *("PLTCALL_NOTOC", "PCREL_OPT", "GNU_VTINHERIT", "GNU_VTENTRY"),
)
"""Types that fill nothing, and that lie at instructions which hold their own bits."""

BRANCHES = {
    **dict.fromkeys(("ADDR24", "REL24", "REL24_NOTOC", "REL24_P9NOTOC"), ".long 0x48000000"),
    **dict.fromkeys(("ADDR14", "ADDR14_BRTAKEN", "ADDR14_BRNTAKEN"), ".long 0x41820000"),
    **dict.fromkeys(("REL14", "REL14_BRTAKEN", "REL14_BRNTAKEN"), ".long 0x41820000"),
}
_DOUBLE = ".long 0x48000009, 0x48000009"  # it looks like a call
DATA = {
    **dict.fromkeys(("ADDR32", "UADDR32", "REL32", "PLT32", "PLTREL32"), ".long 0x48000009"),
    **dict.fromkeys(("ADDR64", "UADDR64", "REL64", "PLT64", "PLTREL64", "TOC"), _DOUBLE),
    **dict.fromkeys(("DTPMOD64", "TPREL64", "DTPREL64", "ADDR64_LOCAL"), _DOUBLE),
}
D_FORM, PREFIXED = ".long 0x38600000", ".long 0x06000000, 0x38600000"


def word(name: str) -> str:
    """What the type called ``name`` lies at in code."""
    if name in MARKERS:
        return "b .Lbehind"
    if name in BRANCHES or name in DATA:
        return (BRANCHES | DATA)[name]
    prefixed = name.endswith(("34", "28", "34_NOTOC")) and "16_" not in name
    return PREFIXED if prefixed or name.startswith("D34_") else D_FORM


TEXT = """
    .abiversion 2
    .type f,@function
f:  mr 3,3
named:
.Lbefore: {word}
    bl g
    SLOT
    mr 3,3
.Lmiddle: {word}
    bl g
    SLOT
    mr 3,3
.Lbehind: {word}
    mr 3,3
    .size f,.-f
    .type g,@function
g:  blr
    .size g,.-g
    .section __bug_table,"a"
.Ldata: .long 0, 0, 0, 0
"""


_HIGH = ("HIGH", "HIGHA", "HIGHER", "HIGHERA", "HIGHEST", "HIGHESTA")
SUFFIXES = {
    **dict(zip(("", "_LO", "_HI", "_HA", "DX_HA"), ("", "@l", "@h", "@ha", "@ha"), strict=True)),
    **{f"_{high}": f"@{high.lower()}" for high in _HIGH},
    **{f"_{high}34": f"@{high.lower()}34" for high in _HIGH[2:]},
}
"""How an operand asks for the types that count from a base: .reloc takes no difference."""


BASES = ("f", ".Lmiddle", "named")


def addends(row: relocation.RelocationType, place: str) -> Iterator[str]:
    """What a relocation of type ``row`` at the label ``place`` may say, one expression each."""
    if row.name == "PCREL_OPT":
        others = {".Lbefore", ".Lmiddle", ".Lbehind"} - {place}
        yield from (f"{other} - {place}" for other in sorted(others))
    elif row.name in ("ENTRY", "GNU_VTINHERIT", "GNU_VTENTRY"):
        yield "keep + 8"
    else:
        yield from (".Lbefore", ".Lmiddle", ".Lbehind", "named", "outside + 16")


def text(row: relocation.RelocationType) -> str:
    """The text of an object with every relocation of type ``row`` that makes sense."""
    if row.name.startswith("REL16"):
        mnemonic = "addpcis" if row.name == "REL16DX_HA" else "li"
        words = (f"{mnemonic} 3, .TOC. - {base}{SUFFIXES[row.name[5:]]}" for base in BASES)
        return TEXT.format(word="; ".join(words))
    lines = [TEXT.format(word=word(row.name))]
    for place in (".Lbefore", ".Lmiddle", ".Lbehind"):
        lines += [
            f"    .reloc {place}, R_PPC64_{row.name}, {addend}" for addend in addends(row, place)
        ]
    if row.name != "PCREL_OPT":
        lines += [
            f"    .reloc .Ldata + {8 * (index % 2)}, R_PPC64_{row.name}, {addend}"
            for index, addend in enumerate(addends(row, ".Ldata"))
        ]
    return "\n".join(lines) + "\n"


UNKNOWN_TO_GAS = "ADDR30"


def test_the_type_that_the_assembler_cant_be_asked_for_is_one_by_name(tmp_path: Path) -> None:
    gas = shutil.which("powerpc64le-linux-gnu-as")
    if gas is None:
        pytest.skip("needs powerpc64le-linux-gnu-as")
    command = [gas, "-o", tmp_path / "x.o", "-"]
    asked = f"    .reloc ., R_PPC64_{UNKNOWN_TO_GAS}, f\nf:\n".encode()
    done = subprocess.run(command, input=asked, capture_output=True, check=False)
    assert b"unrecognized reloc type" in done.stderr


@pytest.mark.parametrize(
    "row", [row for row in TYPES.values() if row.name != UNKNOWN_TO_GAS], ids=lambda row: row.name
)
def test_each_type_moves_as_the_assembler_moves_it(
    assemble: Assemble, row: relocation.RelocationType
) -> None:
    source = text(row)
    wanted = assemble(source.replace("SLOT", "nop"), "-mpower10")
    # A PC-relative word in code may count from elsewhere, which the reader can't see here.
    options = Options(plain_sections=[".text"])
    assert rewrite(assemble(source.replace("SLOT", ""), "-mpower10"), options).data == wanted
    kinds = {kind for r in elf.read(wanted).relocations.values() for kind in r.types}
    assert row.number in kinds


def test_the_tables_words_are_those_that_the_types_name() -> None:
    assert {row.field for row in TYPES.values()} == set(get_args(relocation.Field))
    assert {row.addend for row in TYPES.values()} == set(get_args(relocation.Addend))
    assert {row.worth for row in TYPES.values()} == set(get_args(relocation.Worth))
