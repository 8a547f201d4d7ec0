"""Compressed sections: what was compressed comes back the same, what is damaged is refused."""

from __future__ import annotations

import struct
import zlib

import pytest

from rewriter import compressed, elf
from rewriter.errors import Refusal

CONTENTS = bytes(range(256)) * 9


def section(name: str = ".debug_info", flags: int = elf.SHF_COMPRESSED) -> elf.Section:
    return elf.Section(5, name, elf.SHT_PROGBITS, flags, 0, 0, 0, 0, 0, 8, 0)


def packed(kind: int = 1, size: int = len(CONTENTS), data: bytes = CONTENTS) -> bytes:
    return struct.pack("<IIQQ", kind, 0, size, 1) + zlib.compress(data)


def test_zlib_comes_back_with_its_alignment_and_the_new_size() -> None:
    new = CONTENTS + b"grown"
    again = compressed.compress_like(section(), packed(), new)
    assert compressed.decompress(section(), packed()) == CONTENTS
    assert compressed.decompress(section(), again) == new
    assert struct.unpack_from("<IIQQ", again) == (1, 0, len(new), 1)


def test_the_gnu_form_is_known_by_name_and_magic() -> None:
    old = section(".zdebug_info", 0)
    data = b"ZLIB" + struct.pack(">Q", len(CONTENTS)) + zlib.compress(CONTENTS)
    assert compressed.is_compressed(old)
    assert compressed.plain_name(old) == ".debug_info"
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
    ],
)
def test_damaged_or_announced_too_large_data_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal):
        compressed.decompress(section(), data)
