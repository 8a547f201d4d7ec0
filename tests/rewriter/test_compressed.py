"""Compressed sections: what was compressed comes back the same, what is damaged is refused."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import compressed, debug_sections, elf
from nopfix.rewriter.options import Options
from nopfix.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENTS = bytes(range(256)) * 9


def section(name: str = ".debug_info", flags: int = elf.SHF_COMPRESSED) -> elf.Section:
    return elf.Section(5, name, elf.SHT_PROGBITS, flags, 0, 0, 0, 0, 0, 8, 0)


def packed(
    kind: int = 1, size: int = len(CONTENTS), data: bytes = CONTENTS, alignment: int = 1
) -> bytes:
    return struct.pack("<IIQQ", kind, 0, size, alignment) + zlib.compress(data)


def test_zlib_comes_back_with_its_alignment_and_the_new_size() -> None:
    new = CONTENTS + b"grown"
    again = compressed.compress_like(section(), packed(), new)
    assert compressed.decompress(section(), packed()) == CONTENTS
    assert compressed.decompress(section(), again) == new
    assert struct.unpack_from("<IIQQ", again) == (1, 0, len(new), 1)


def test_the_gnu_form_is_known_by_name_and_magic() -> None:
    old = section(".zdebug_info", 0)
    data = b"ZLIB" + struct.pack(">Q", len(CONTENTS)) + zlib.compress(CONTENTS)
    assert old.is_compressed
    assert old.plain_name == ".debug_info"
    assert compressed.decompress(old, data) == CONTENTS
    assert compressed.compress_like(old, data, CONTENTS) == data


def test_zstd_comes_back_as_zstd() -> None:
    zstd = pytest.importorskip("backports.zstd")
    data = struct.pack("<IIQQ", 2, 0, len(CONTENTS), 1) + zstd.compress(CONTENTS)
    again = compressed.compress_like(section(), data, CONTENTS[1:])
    assert zstd.decompress(again[24:]) == CONTENTS[1:]
    assert compressed.decompress(section(), again) == CONTENTS[1:]


@pytest.mark.parametrize(
    "data",
    [
        b"short",
        packed(kind=9),
        packed(size=len(CONTENTS) - 1),
        packed(size=len(CONTENTS) + 1),
        packed(size=1 << 60),
        packed()[:-3],
        packed() + b"more",
        packed(alignment=3),
        packed(alignment=1 << 13),
        packed(alignment=1 << 31),
        packed(alignment=1 << 63),
    ],
)
def test_damaged_or_announced_too_large_data_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal):
        compressed.decompress(section(), data)


def with_line_table(
    assemble: Callable[..., bytes], rows: str, slots: bool, kind: str, more: str = ""
) -> bytes:
    """An assembled object with compressed debug sections.

    Each letter of ``rows`` is a line of the table: c a call, which the slot makes as long as the
    two instructions of p; i a single instruction.
    """
    written = {"c": "bl f; nop" if slots else "bl f", "p": "li 3,1; li 3,1", "i": "li 3,1"}
    lines = [".abiversion 2", ".type f,@function", "f:", "blr", ".type g,@function", "g:"]
    lines += [*(written[row] for row in rows), "blr", more]
    return assemble("\n".join(lines) + "\n", "--gdwarf-4", f"--compress-debug-sections={kind}")


def form(data: bytes, name: str) -> tuple[bool, int]:
    """Whether a section is compressed, and its sh_addralign."""
    section = next(s for s in elf.read(data).sections if s.name == name)
    return bool(section.flags & elf.SHF_COMPRESSED), section.alignment


IRREGULAR = "cpccpcppcpcccppcpppccpcpcppccpccppcppcpcccpcpppcpccpcpppccpppcpcccpcp"


def test_a_section_is_compressed_where_that_pays_as_the_assembler_does(
    assemble: Callable[..., bytes], equal: Callable[[bytes, bytes], bool]
) -> None:
    changes = set()
    for rows in [*("ci" * n for n in range(2, 24)), *(IRREGULAR[:n] for n in range(8, 70))]:
        plain, want = (with_line_table(assemble, rows, slots, "zlib") for slots in (False, True))
        assert equal(bytes(rewrite(plain).data), want), rows
        for name in (".debug_line", ".debug_aranges"):
            before, after = form(plain, name), form(want, name)
            if before != after:
                changes.add((before[0], after[0]))
                assert verify(plain, want, need_slots=True).verified
    assert changes == {(True, False), (False, True)}


def as_llvm_16(data: bytes) -> bytes:
    """``data`` with its debug sections compressed where LLVM up to 16 takes that for worth it."""
    obj = elf.read(data)
    contents, headers = {}, {}
    for one in obj.sections:
        if not one.name.startswith(".debug_"):
            continue
        plain = bytes(obj.contents(one.number))
        small = zlib.compress(plain)
        if len(small) + 12 < len(plain):
            contents[one.number] = packed(1, len(plain), plain, one.alignment)
            flags = one.flags | elf.SHF_COMPRESSED
            headers[one.number] = one._replace(flags=flags, alignment=8)
    return elf.write(obj, contents, headers)


@pytest.mark.parametrize("shown", ["version", "section"])
def test_where_half_of_the_header_was_counted_it_is_again(
    assemble: Callable[..., bytes], shown: str
) -> None:
    # LLVM took sizeof(Elf32_Chdr) for that of Elf64_Chdr: its version says so, or a section that
    # got no smaller.
    more = {
        "version": '.section .comment,"MS",@progbits,1; .string "Debian clang version 16.0.6 (1)"',
        "section": f'.section .debug_line_str,"MS",@progbits,1; .string "{IRREGULAR[:50]}"',
    }[shown]
    changes = set()
    for count in range(8, 70):
        plain, want = (
            as_llvm_16(with_line_table(assemble, IRREGULAR[:count], slots, "none", more))
            for slots in (False, True)
        )
        done = bytes(rewrite(plain).data)
        for name in (".debug_line", ".debug_aranges", ".debug_info"):
            assert form(done, name) == form(want, name), (count, name)
        changes.add((form(plain, ".debug_line")[0], form(want, ".debug_line")[0]))
        assert verify(plain, done, need_slots=True).verified
    assert (False, True) in changes


def test_a_section_is_compressed_with_zstd_only_where_that_makes_it_smaller(
    assemble: Callable[..., bytes],
) -> None:
    # Which sections those are hangs on the version of the library, so the assembler may differ.
    pytest.importorskip("backports.zstd")
    forms = set()
    for count in range(4, 24):
        plain, want = (
            with_line_table(assemble, "ci" * count, slots, "zstd") for slots in (False, True)
        )
        data = bytes(rewrite(plain).data)
        obj = elf.read(data)
        assert [(s.name, s.data) for s in debug_sections.debug(obj)] == [
            (s.name, s.data) for s in debug_sections.debug(elf.read(want))
        ]
        for section in obj.sections:
            if section.flags & elf.SHF_COMPRESSED:
                contents = compressed.decompress(section, obj.contents(section.number))
                assert section.size < len(contents)
        forms.add((form(plain, ".debug_line")[0], form(data, ".debug_line")[0]))
    assert (True, False) in forms


def test_a_section_that_was_plain_though_compression_pays_stays_plain(
    assemble: Callable[..., bytes],
) -> None:
    # Some other tool's choice: it isn't this one's to change.
    data = with_line_table(assemble, "c" * 60, False, "zlib")
    obj = elf.read(data)
    number = next(s.number for s in obj.sections if s.name == ".debug_line")
    section = obj.sections[number]
    assert section.flags & elf.SHF_COMPRESSED
    plain = section._replace(flags=section.flags & ~elf.SHF_COMPRESSED, alignment=1)
    lines = compressed.decompress(section, obj.contents(number))
    mixed_data = elf.write(obj, {number: lines}, {number: plain})
    assert form(bytes(rewrite(mixed_data).data), ".debug_line") == (False, 1)


def test_gnus_form_stays_whatever_it_saves(assemble: Callable[..., bytes]) -> None:
    # Only the name says that a section is in this form, and names don't change.
    seen = set()
    for count in range(1, 10):
        plain, want = (
            with_line_table(assemble, "ci" * count, slots, "zlib-gnu") for slots in (False, True)
        )
        got = rewrite(plain).data
        same = [s.name for s in elf.read(plain).sections] == [
            s.name for s in elf.read(want).sections
        ]
        seen.add(same)
        if same:
            assert bytes(got) == want
        else:
            got_lines, want_lines = (
                next(s for s in debug_sections.debug(elf.read(data)) if "line" in s.name)
                for data in (got, want)
            )
            assert bytes(got_lines.data) == bytes(want_lines.data)
    assert seen == {True, False}


def bomb(assemble: Callable[..., bytes], kind: str, names: list[str], size: int) -> bytes:
    """An object in which each of ``names`` is ``size`` null bytes, compressed."""
    lines = [".abiversion 2", ".type f,@function", "f: blr", ".type g,@function", "g: bl f", "blr"]
    lines += [f'.section {name},"",@progbits\n.zero 1' for name in names]
    obj = elf.read(assemble("\n".join(lines) + "\n"))
    contents, headers = {}, {}
    for section in obj.sections:
        if section.name in names:
            contents[section.number] = pack(kind, bytes(size))
            if kind != "gnu":
                flags = section.flags | elf.SHF_COMPRESSED
                headers[section.number] = section._replace(flags=flags, alignment=8)
    return elf.write(obj, contents, headers)


def pack(kind: str, data: bytes) -> bytes:
    if kind == "gnu":
        return b"ZLIB" + struct.pack(">Q", len(data)) + zlib.compress(data)
    if kind == "zstd":
        zstd = pytest.importorskip("backports.zstd")
        return struct.pack("<IIQQ", 2, 0, len(data), 1) + bytes(zstd.compress(data))
    return struct.pack("<IIQQ", 1, 0, len(data), 1) + zlib.compress(data)


FREE = compressed.EXPANDED_FREELY
MANY = [".debug_str", ".debug_line_str", ".debug_abbrev", ".debug_str.dwo"]


@pytest.mark.parametrize(
    ("kind", "names", "size"),
    [
        ("zlib", [".debug_str"], 2 * FREE),
        ("zlib", [".debug_str.dwo"], 2 * FREE),
        ("zlib", MANY, FREE // 2),
        ("zstd", [".debug_str"], 2 * FREE),
        ("zstd", MANY, FREE // 2),
        ("gnu", [".zdebug_str"], 2 * FREE),
    ],
)
def test_what_expands_beyond_measure_is_refused_unless_allowed_and_not_opened_before(
    assemble: Callable[..., bytes], kind: str, names: list[str], size: int
) -> None:
    data = bomb(assemble, kind, names, size)
    rewrite(with_line_table(assemble, "c", False, "zlib"))  # the modules are loaded
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="--allow compression-ratio") as caught:
            rewrite(data)
        assert tracemalloc.get_traced_memory()[1] < size // 8
    finally:
        tracemalloc.stop()
    assert caught.value.section in names
    result = rewrite(data, Options(allow=[compressed.COMPRESSION_RATIO]))
    assert len(result.report.insertions) == 1


def test_what_is_measured_in_an_object_is_measured_in_its_dwo_files(
    assemble: Callable[..., bytes],
) -> None:
    data = with_line_table(assemble, "c", False, "zlib")
    dwo = bomb(assemble, "zlib", [".debug_str.dwo"], 2 * FREE)
    with pytest.raises(Refusal, match="--allow compression-ratio") as caught:
        rewrite(data, Options(dwo={"f.dwo": dwo}))
    assert caught.value.file == "f.dwo"


@pytest.mark.parametrize("kind", ["zlib", "zstd", "gnu"])
def test_what_stays_in_measure_is_rewritten(assemble: Callable[..., bytes], kind: str) -> None:
    name = ".zdebug_str" if kind == "gnu" else ".debug_str"
    assert rewrite(bomb(assemble, kind, [name], FREE // 2)).report.insertions


@pytest.mark.parametrize("alignment", [1, 64, 4096])
def test_a_section_that_loses_its_form_is_aligned_as_it_says_within_reason(
    assemble: Callable[..., bytes], alignment: int
) -> None:
    rows = next(
        rows
        for rows in ("ci" * n for n in range(2, 24))
        if form(with_line_table(assemble, rows, False, "zlib"), ".debug_line")[0]
        and not form(with_line_table(assemble, rows, True, "zlib"), ".debug_line")[0]
    )
    data = with_line_table(assemble, rows, False, "zlib")
    line = next(s for s in elf.read(data).sections if s.name == ".debug_line")
    at = line.offset + 16
    data = data[:at] + struct.pack("<Q", alignment) + data[at + 8 :]
    new = next(s for s in elf.read(rewrite(data).data).sections if s.name == ".debug_line")
    assert (new.alignment, new.offset % alignment) == (alignment, 0)
    data = data[:at] + struct.pack("<Q", 1 << 31) + data[at + 8 :]
    with pytest.raises(Refusal, match="alignment of 2147483648"):
        rewrite(data)
