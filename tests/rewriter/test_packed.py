"""Files that are compressed as a whole: opened, rewritten, closed again."""

from __future__ import annotations

import lzma
import shutil
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter import command
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import magic, packed

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = {"xz": "xz", "zst": "zstd", "gz": "gzip"}


def opened(data: bytes, program: str) -> bytes:
    return subprocess.run([program, "-dc"], input=data, capture_output=True, check=True).stdout


def closed(data: bytes, program: str) -> bytes:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    return subprocess.run([program, "-c"], input=data, capture_output=True, check=True).stdout


@pytest.fixture
def plain(samples: Path) -> bytes:
    return (samples / "recursion.o").read_bytes()


@pytest.mark.parametrize("ending", PROGRAMS)
def test_what_is_inside_is_rewritten_and_the_programs_own_tool_opens_it(
    plain: bytes, tmp_path: Path, ending: str
) -> None:
    module = tmp_path / f"m.ko.{ending}"
    module.write_bytes(closed(plain, PROGRAMS[ending]))
    assert command.main([str(module), str(module)]) == 0
    assert opened(module.read_bytes(), PROGRAMS[ending]) == rewrite(plain).data


@pytest.mark.parametrize("ending", PROGRAMS)
def test_what_needs_nothing_comes_back_byte_for_byte(
    plain: bytes, tmp_path: Path, ending: str
) -> None:
    module, out = tmp_path / f"m.ko.{ending}", tmp_path / f"out.ko.{ending}"
    module.write_bytes(closed(rewrite(plain).data, PROGRAMS[ending]))
    assert command.main([str(module), str(out)]) == 0
    assert out.read_bytes() == module.read_bytes()


@pytest.mark.parametrize(
    ("name", "how"),
    [("out.ko", None), ("out.ko.gz", "gzip"), ("out.ko.xz", "xz"), ("out.tmp", "xz")],
)
def test_the_name_of_out_says_how_it_is_packed(
    plain: bytes, tmp_path: Path, name: str, how: str | None
) -> None:
    (tmp_path / "in.ko.xz").write_bytes(closed(plain, "xz"))
    assert command.main([str(tmp_path / "in.ko.xz"), str(tmp_path / name)]) == 0
    assert magic.packing((tmp_path / name).read_bytes()) == how


def test_a_plain_object_is_packed_where_out_says_so(plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.o").write_bytes(plain)
    assert command.main([str(tmp_path / "in.o"), str(tmp_path / "out.o.xz")]) == 0
    data = (tmp_path / "out.o.xz").read_bytes()
    assert lzma.decompress(data) == rewrite(plain).data


def test_xz_has_what_the_kernel_opens(plain: bytes) -> None:
    """CRC32: the kernel's decoder knows no other check."""
    stream = lzma.LZMADecompressor()
    stream.decompress(packed.pack(plain, "xz"))
    assert stream.check == lzma.CHECK_CRC32


@pytest.mark.parametrize("how", ["xz", "zstd", "gzip"])
def test_damaged_data_is_refused(plain: bytes, how: str) -> None:
    data = packed.pack(plain, how)
    for broken in (data[:-1], data[:40], data[:60] + b"\xff\x00\xff" + data[63:]):
        with pytest.raises(Refusal, match=f"damaged {how} data"):
            packed.unpack(broken)


@pytest.mark.parametrize("how", ["xz", "zstd", "gzip"])
def test_streams_one_behind_the_other_are_one_file(plain: bytes, how: str) -> None:
    twice = packed.pack(plain[:100], how) + packed.pack(plain[100:], how)
    assert packed.unpack(twice) == plain


@pytest.mark.parametrize("how", ["xz", "zstd", "gzip"])
def test_what_expands_too_far_is_refused_unless_it_is_trusted(how: str) -> None:
    data = packed.pack(bytes(9 << 20), how)
    with pytest.raises(Refusal, match="--allow compression-ratio"):
        packed.unpack(data)
    assert len(packed.unpack(data, ["compression-ratio"])) == 9 << 20


def test_archives_may_be_packed_too(plain: bytes, tmp_path: Path) -> None:
    if (ar := shutil.which("powerpc64le-linux-gnu-ar")) is None:
        pytest.skip("needs powerpc64le-linux-gnu-ar")
    (tmp_path / "f.o").write_bytes(plain)
    subprocess.run([ar, "rcsD", "f.a", "f.o"], cwd=tmp_path, check=True)
    (tmp_path / "f.a.gz").write_bytes(closed((tmp_path / "f.a").read_bytes(), "gzip"))
    assert command.main([str(tmp_path / "f.a"), str(tmp_path / "want.a")]) == 0
    assert command.main([str(tmp_path / "f.a.gz"), str(tmp_path / "got.a.gz")]) == 0
    got = zlib.decompress((tmp_path / "got.a.gz").read_bytes(), 31)
    assert got == (tmp_path / "want.a").read_bytes() != (tmp_path / "f.a").read_bytes()


def test_without_zstds_library_the_line_says_what_to_install(
    plain: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed.pack(plain, "zstd")
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Refusal, match=r"pip install 'nopfix\[zstd\]'"):
        packed.unpack(data)
