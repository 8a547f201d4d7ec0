"""Every difference between two objects is found, and named where it is."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import compare, toolchain

if TYPE_CHECKING:
    from pathlib import Path

ASSEMBLY = """
    .abiversion 2
    .text
    .globl f
    .type f, @function
f:  bl g
    nop
    blr
    .size f, .-f
    .section .debug_str, "MS", @progbits, 1
    .string "a string that is worth compressing a string that is worth compressing"
    .data
    .quad f
"""


def assemble(folder: Path, *flags: str, more: str = "") -> bytes:
    source, output = folder / "f.s", folder / "f.o"
    source.write_text(ASSEMBLY + more)
    try:
        tool = toolchain.binutil("as")
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    done = toolchain.run([tool, "-a64", "-mlittle", *flags, "-o", str(output), str(source)])
    assert done.status == 0, done.errors
    return output.read_bytes()


@pytest.fixture
def plain(tmp_path: Path) -> bytes:
    return assemble(tmp_path)


def changed(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def section_offset(data: bytes, name: str) -> int:
    names = [section.name for section in compare.read(data).sections]
    (table,) = struct.unpack_from("<Q", data, 40)
    offset: int = struct.unpack_from("<Q", data, table + 64 * names.index(name) + 24)[0]
    return offset


def test_an_object_equals_itself(plain: bytes) -> None:
    assert compare.differences(plain, bytes(plain)) == []


def test_where_sections_lie_in_the_file_does_not_matter(plain: bytes) -> None:
    (table,) = struct.unpack_from("<Q", plain, 40)
    moved = bytearray(plain[:table] + bytes(16) + plain[table:])
    struct.pack_into("<Q", moved, 40, table + 16)
    assert compare.differences(bytes(moved), plain) == []


@pytest.mark.parametrize(
    ("section", "at", "names"),
    [
        (".text", 4, [".text+0x4", "in f"]),
        (".data", 0, [".data+0x0"]),
        (".rela.text", 16, [".rela.text", "REL24", "g+0x"]),
        (".rela.data", 0, [".rela.data", "ADDR64"]),
        (".strtab", 1, ["symbol"]),
        (".symtab", 24 + 8, ["symbol 1", "value"]),
    ],
)
def test_one_changed_byte_is_found_and_named(
    plain: bytes, section: str, at: int, names: list[str]
) -> None:
    offset = section_offset(plain, section) + at
    other = changed(plain, offset, bytes([plain[offset] ^ 1]))
    found = "\n".join(compare.differences(other, plain))
    for name in names:
        assert name in found


@pytest.mark.parametrize("field", [0, 4, 8, 32, 40, 44, 48, 56])
def test_a_changed_section_header_field_is_found(plain: bytes, field: int) -> None:
    (table,) = struct.unpack_from("<Q", plain, 40)
    names = [section.name for section in compare.read(plain).sections]
    place = table + 64 * names.index(".text") + field
    other = changed(plain, place, bytes([plain[place] ^ 2]))
    assert compare.differences(other, plain)


def test_compressed_sections_are_compared_by_content(tmp_path: Path) -> None:
    import zlib

    data = assemble(tmp_path, "--compress-debug-sections=zlib")
    start = section_offset(data, ".debug_str")
    (size,) = struct.unpack_from("<Q", data, start + 8)
    section = next(s for s in compare.read(data).sections if s.name == ".debug_str")
    stored = zlib.compress(section.data[-size:], 1)
    (table,) = struct.unpack_from("<Q", data, 40)
    index = [s.name for s in compare.read(data).sections].index(".debug_str")
    other = bytearray(data + data[start : start + 24] + stored)
    struct.pack_into("<QQ", other, table + 64 * index + 24, len(data), 24 + len(stored))
    assert compare.differences(bytes(other), data) == []
    struct.pack_into("<Q", other, len(data) + 16, 8)
    assert compare.differences(bytes(other), data)
    struct.pack_into("<QQ", other, len(data) + 8, size + 1, 1)
    with pytest.raises(ValueError, match="announced"):
        compare.differences(bytes(other), data)


def test_compressed_line_tables_that_differ_are_found(tmp_path: Path) -> None:
    flags = "--gdwarf-4", "--compress-debug-sections=zlib"
    code = "\n".join(["    li 3, 1"] * 70)
    one = assemble(tmp_path, *flags, more=f"    .text\n{code}\n")
    other = assemble(tmp_path, *flags, more=f"    .text\n    nop; nop\n{code[12:]}\n")
    assert any(".debug_line" in line for line in compare.differences(one, other))


def test_what_is_no_elf_file_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="not a 64-bit little-endian ELF"):
        compare.read(b"\x7fELF\x01\x01")
