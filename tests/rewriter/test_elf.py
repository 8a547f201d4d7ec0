from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile

from nopfix import rewrite
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.o"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_an_object_written_unchanged_is_the_same_file(path: Path) -> None:
    data = path.read_bytes()
    assert elf.write(elf.read(data), {}) == data


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sections_symbols_and_relocations_are_what_pyelftools_reads(path: Path) -> None:
    data = path.read_bytes()
    obj = elf.read(data)
    other = ELFFile(io.BytesIO(data))
    assert [s.name for s in obj.sections] == [s.name for s in other.iter_sections()]
    table = other.get_section_by_name(".symtab")
    names = [obj.symbols.name(index) for index in range(len(obj.symbols.names))]
    assert names == [s["st_name"] and s.name for s in table.iter_symbols()] or names == [
        "" if not s["st_name"] else s.name for s in table.iter_symbols()
    ]
    assert list(obj.symbols.values) == [s["st_value"] for s in table.iter_symbols()]
    for section, relocations in obj.relocations.items():
        theirs = other.get_section(relocations.table)
        assert theirs["sh_info"] == section
        assert [
            (r["r_offset"], r["r_info_type"], r["r_info_sym"], r["r_addend"])
            for r in theirs.iter_relocations()
        ] == list(
            zip(
                relocations.places,
                relocations.types,
                relocations.symbols,
                relocations.addends,
                strict=True,
            )
        )


def test_a_grown_section_moves_what_follows_and_nothing_else(samples: Path) -> None:
    data = (samples / "dispatch.o").read_bytes()
    obj = elf.read(data)
    number = next(s.number for s in obj.sections if s.name == ".text")
    grown = elf.read(elf.write(obj, {number: bytes(obj.contents(number)) + bytes(100)}))
    assert grown.sections[number].size == obj.sections[number].size + 100
    for section in obj.sections:
        if section.number != number:
            assert grown.contents(section.number) == obj.contents(section.number)
            assert grown.sections[section.number].offset % (section.alignment or 1) == 0


def test_the_local_entry_is_read_from_st_other(samples: Path) -> None:
    symbols = elf.read((samples / "dispatch.o").read_bytes()).symbols
    index = next(i for i in range(len(symbols.names)) if symbols.name(i) == "dispatch")
    assert symbols.local_entry(index) == 8


def test_more_sections_than_a_half_word_counts_are_read_and_written(
    assemble: Callable[..., bytes],
) -> None:
    count = 66000
    lines = [f'.section .t{i},"ax",@progbits\nf{i}: blr' for i in range(count)]
    data = assemble("\n".join(lines) + "\n")
    obj = elf.read(data)
    assert len(obj.sections) > count
    assert elf.write(obj, {}) == data
    last = max(range(len(obj.symbols.sections)), key=lambda i: obj.symbols.sections[i])
    assert obj.sections[obj.symbols.sections[last]].name == f".t{count - 1}"


def broken(data: bytes, position: int, value: bytes) -> bytes:
    return data[:position] + value + data[position + len(value) :]


@pytest.mark.parametrize(
    ("position", "value", "found"),
    [
        (0, b"\x7fBAD", "not an ELF file"),
        (4, b"\x01", "ELF class 1"),
        (5, b"\x02", "data encoding 2"),
        (16, b"\x02\x00", "not ET_REL"),
        (18, b"\x3e\x00", "machine 62"),
        (40, b"\xff\xff\xff\x7f", "section header table"),
        (48, b"\x01", "ELFv1"),
    ],
)
def test_what_is_not_our_kind_of_object_is_refused(
    samples: Path, position: int, value: bytes, found: str
) -> None:
    data = (samples / "dispatch.o").read_bytes()
    with pytest.raises(Refusal, match=found):
        elf.read(broken(data, position, value))


@pytest.mark.parametrize("size", [0, 3, 16, 63, 64, 500, 3000])
def test_a_truncated_file_is_refused(samples: Path, size: int) -> None:
    with pytest.raises(Refusal):
        elf.read((samples / "dispatch.o").read_bytes()[:size])


def test_a_relocation_against_a_symbol_that_is_not_there_is_refused(samples: Path) -> None:
    data = (samples / "dispatch.o").read_bytes()
    obj = elf.read(data)
    table = next(s for s in obj.sections if s.name == ".rela.text")
    with pytest.raises(Refusal, match="names no symbol"):
        elf.read(broken(data, table.offset + 12, struct.pack("<I", 99999)))


#: A call without slot, in front of sections that take no room in the file.
WITH_BSS = """
 .abiversion 2
 .type f,@function
f: blr
 .type g,@function
g: .rept 16
 bl f
 .endr
 blr
 .bss
 .zero 16
 .section .tbss,"awT",@nobits
 .zero 8
 .data
 .zero 4096
"""


@pytest.mark.parametrize("name", [".bss", ".tbss"])
@pytest.mark.parametrize(
    "offset", [0, 1, 63, 64, 65, 1 << 32, 1 << 63, (1 << 64) - 8, (1 << 64) - 1]
)
def test_where_a_section_without_contents_claims_to_lie_decides_nothing(
    assemble: Callable[..., bytes], name: str, offset: int
) -> None:
    data = assemble(WITH_BSS)
    obj = elf.read(data)
    section = next(s for s in obj.sections if s.name == name)
    (table,) = struct.unpack_from("<Q", data, 40)
    lying = broken(data, table + 64 * section.number + 24, struct.pack("<Q", offset))
    want, got = (elf.read(rewrite(each).data) for each in (data, lying))
    assert [s.size for s in got.sections] == [s.size for s in want.sections]
    for number in range(len(want.sections)):
        assert bytes(got.contents(number)) == bytes(want.contents(number))


@pytest.mark.parametrize("offset", [64, 70, 4000])
def test_a_section_without_contents_follows_those_that_shrink_no_further_than_the_file(
    assemble: Callable[..., bytes], offset: int
) -> None:
    obj = elf.read(assemble(WITH_BSS))
    (data,) = (s.number for s in obj.sections if s.name == ".data")
    (table,) = struct.unpack_from("<Q", obj.data, 40)
    (bss,) = (s.number for s in obj.sections if s.name == ".bss")
    lying = broken(bytes(obj.data), table + 64 * bss + 24, struct.pack("<Q", offset))
    smaller = elf.read(elf.write(elf.read(lying), {data: b"", 1: b""}))
    assert smaller.sections[data].size == 0
    assert smaller.sections[bss].offset <= offset


@pytest.mark.parametrize("words", range(1, 17))
def test_a_file_that_is_aligned_to_words_stays_so(
    words: int,
    aligned_sections: Callable[[int, str], str],
    assemble: Callable[..., bytes],
    laid_out: Callable[[bytes, int], bytes],
) -> None:
    plain, want = (laid_out(assemble(aligned_sections(words, slot)), 8) for slot in ("", "    nop"))
    assert bytes(rewrite(plain).data) == want
