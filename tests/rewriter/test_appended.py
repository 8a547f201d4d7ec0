"""What lies behind the last section: a signature is dropped and said to be, the rest refused."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter import command
from nopfix.rewriter.errors import Refusal

if TYPE_CHECKING:
    from pathlib import Path


def signed(data: bytes, length: int) -> bytes:
    """As scripts/sign-file does it: signature, struct module_signature, the mark."""
    told = struct.pack(">8BI", 0, 0, 2, 0, 0, 0, 0, 0, length)
    return data + b"\x30" * length + told + b"~Module signature appended~\n"


@pytest.fixture
def module(samples: Path) -> bytes:
    return (samples / "recursion.o").read_bytes()


@pytest.mark.parametrize("kind", ["short", "long", "twice", "behind padding", "length damaged"])
def test_a_signature_is_dropped_with_a_line_that_says_so(
    module: bytes, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {
        "short": signed(module, 20),
        "long": signed(module, 700),
        "twice": signed(signed(module, 300), 300),
        "behind padding": signed(module + bytes(13), 300),
        "length damaged": signed(module, 300).replace(b"\x01\x2c~", b"\xff\xff~"),
    }[kind]
    (tmp_path / "m.ko").write_bytes(data)
    source, out = str(tmp_path / "m.ko"), tmp_path / "out.ko"
    assert command.main(["--sibling-calls=ignore", source, str(out)]) == 0
    assert out.read_bytes() == rewrite(module).data
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nopfix: {out}: warning: the module's signature")
    assert command.main(["--quiet", source, str(out)]) == 0
    assert capsys.readouterr().err == ""


def test_a_signature_that_is_to_be_kept_is_a_refusal_with_the_reason(
    module: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "m.ko", tmp_path / "out.ko"
    source.write_bytes(signed(module, 300))
    assert command.main(["--keep-signature", str(source), str(out)]) == 1
    assert "holds for the bytes that it was made of" in capsys.readouterr().err
    assert not out.exists()


def test_a_signature_over_what_does_not_change_stays(
    module: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "m.ko", tmp_path / "out.ko"
    source.write_bytes(signed(bytes(rewrite(module).data), 300))
    options = ["--keep-signature", "--sibling-calls=ignore"]
    assert command.main([*options, str(source), str(out)]) == 0
    assert out.read_bytes() == source.read_bytes()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "tail", [b"x", b"PK\5\6" + bytes(18), bytes(40) + b"~Module signature appended~"]
)
def test_what_nobody_knows_behind_the_last_section_is_refused(module: bytes, tail: bytes) -> None:
    with pytest.raises(Refusal, match="behind the last section") as caught:
        rewrite(module + tail)
    end = int(caught.value.remedy.split()[-1])
    assert rewrite((module + tail)[:end]).data == rewrite(module).data


@pytest.mark.parametrize("count", [1, 8, 4096])
def test_null_bytes_behind_the_last_section_are_padding(module: bytes, count: int) -> None:
    assert rewrite(module + bytes(count)).data == rewrite(module).data
