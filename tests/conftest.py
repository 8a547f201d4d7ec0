"""Fixtures that all tests share."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import compare
from nopfix.rewriter.object import elf

if TYPE_CHECKING:
    from collections.abc import Callable

# What the tests send signals to inherits which are ignored, and a shell has its background jobs
# ignore some, as nohup does.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_number, signal.SIG_DFL)

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the committed samples."""
    return SAMPLES


@pytest.fixture
def assemble(tmp_path: Path) -> Callable[..., bytes]:
    """A function that assembles source text and gives the object's bytes."""
    program = shutil.which("powerpc64le-linux-gnu-as")
    if program is None:
        pytest.skip("needs powerpc64le-linux-gnu-as (binutils-powerpc64le-linux-gnu)")

    def run(source: str, *options: str) -> bytes:
        output = tmp_path / "assembled.o"
        subprocess.run([program, *options, "-o", output, "-"], input=source.encode(), check=True)
        return output.read_bytes()

    return run


@pytest.fixture
def equal(assemble: Callable[..., bytes]) -> Callable[[bytes, bytes], bool]:
    """A function that says whether two objects are equal to the last byte of the file.

    binutils up to 2.43 aligns sections in the file as sh_addralign says, and so does nopfix; 2.44
    goes no further than to a word, which an object can't always show.  There all of the file but
    where its sections lie has to be equal.
    """
    (bss,) = (
        section
        for section in elf.read(assemble(".byte 1\n.bss\n.p2align 6\n.zero 8\n")).sections
        if section.name == ".bss"
    )
    if bss.offset % 64 == 0:
        return bytes.__eq__
    return lambda one, other: compare.differences(one, other) == []


@pytest.fixture
def aligned_sections() -> Callable[[int, str], str]:
    """A function that gives assembly with sections of several alignments, one of them without
    bytes, behind code of so many words; a slot's text goes behind each of two calls.
    """
    source = """
    .abiversion 2
    .text
    .rept {words}; nop; .endr
    .bss
    .p2align 6
    .zero 8
    .section .text.later,"ax"
    .p2align 5
    bl f
{slot}
    .section .data.last,"aw"
    .byte 1
    .section .text.last,"ax"
    .p2align 6
    bl f
{slot}
    .section .data.words,"aw"
    .p2align 3
    .quad 0
"""
    return lambda words, slot: source.format(words=words, slot=slot)


@pytest.fixture
def laid_out() -> Callable[[bytes, int], bytes]:
    """A function that gives an object whose sections lie in the file as sh_addralign says, but
    aligned to so many bytes at most: to 8 as binutils from 2.44 on has it.
    """

    def again(data: bytes, most: int) -> bytes:
        obj = elf.read(data)
        (table,) = struct.unpack_from("<Q", data, 40)
        headers = bytearray(data[table:][: 64 * len(obj.sections)])
        made = bytearray(data[:64])
        for section in sorted(obj.sections[1:], key=lambda one: (one.offset, one.number)):
            made += bytes(-len(made) % min(section.alignment or 1, most))
            struct.pack_into("<Q", headers, 64 * section.number + 24, len(made))
            made += obj.contents(section.number)
        made += bytes(-len(made) % 8)
        struct.pack_into("<Q", made, 40, len(made))
        return bytes(made + headers)

    return again
