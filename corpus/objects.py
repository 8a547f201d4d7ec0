"""Ready-made objects: single ones, kernel modules (compressed or not), and members of libraries.

Only what nopfix is for counts: relocatable 64-bit little-endian PowerPC objects.  A library may
hold others (LLVM bitcode, another processor's code), and a package files that only look like
objects by their names.

The format of libraries is that of ``ar`` as System V and GNU write it: a header of 60 bytes in
front of each member, long names in the member ``//``, members at even places.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MAGIC = b"!<arch>\n"
_HEADER_SIZE = 60
_SUFFIXES = (".o", ".ko", ".a")


class Unreadable(Exception):
    """A file can't be read as what its name says."""


class Inner(NamedTuple):
    """One object of a file: its name in reports, "" where it is the whole file, and its place."""

    name: str
    offset: int


def _zstd(data: bytes) -> bytes:
    program = shutil.which("zstd")
    if program is None:
        raise Unreadable("zstd: not installed")
    return subprocess.run([program, "-dcq"], input=data, capture_output=True, check=True).stdout


_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
    ".zst": _zstd,
}


def is_one(path: Path) -> bool:
    """Say whether a file's name is that of an object, a module or a library."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in _DECOMPRESS:
        return suffixes[-2:-1] == [".ko"]
    return path.suffix in _SUFFIXES


def found_in(path: Path) -> Iterator[Inner]:
    """Return the objects in a file that nopfix is for.  Raises Unreadable."""
    data = _content(path)
    if not data.startswith(_MAGIC):
        if _is_ours(data[:20]):
            yield Inner("", 0)
        return
    seen: dict[str, int] = {}
    for name, offset, size in _members(data):
        if size >= 64 and _is_ours(data[offset : offset + 20]):
            count = seen[name] = seen.get(name, 0) + 1
            yield Inner(name if count == 1 else f"{name}#{count}", offset)


def load(path: Path, offset: int) -> bytes:
    """Return the object at `offset` of a file, as `found_in` gave it.  Raises Unreadable."""
    data = _content(path)
    if not data.startswith(_MAGIC):
        return data
    size = _number(data[offset - 12 : offset - 2])
    return data[offset : offset + size]


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        return _DECOMPRESS.get(path.suffix, bytes)(data)
    except (lzma.LZMAError, OSError, EOFError, subprocess.CalledProcessError) as error:
        raise Unreadable(f"{path}: {error}") from error


def _is_ours(head: bytes) -> bool:
    """Say whether the first 20 bytes are those of an object for EM_PPC64, little-endian."""
    return head[:6] == b"\x7fELF\x02\x01" and head[16:20] == b"\x01\0\x15\0"


def _number(text: bytes) -> int:
    try:
        return int(text.strip() or b"0")
    except ValueError as error:
        raise Unreadable(f"{text!r} in a library's header") from error


def _members(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Return (name, place, size) of each member of a library that is a file."""
    offset = len(_MAGIC)
    names = b""
    while offset + _HEADER_SIZE <= len(data):
        name = data[offset : offset + 16].rstrip()
        size = _number(data[offset + 48 : offset + 58])
        offset += _HEADER_SIZE
        if name == b"//":
            names = data[offset : offset + size]
        elif name not in (b"/", b"/SYM64/"):
            if name[:1] == b"/":
                start = _number(name[1:])
                name = names[start : names.find(b"\n", start)]
            yield name.rstrip(b"/").decode("utf-8", "replace"), offset, size
        offset += size + size % 2
