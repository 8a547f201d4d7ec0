"""Compressed sections, opened: SHF_COMPRESSED (gABI, "Section Compression") and GNU's older scheme.

A few bytes can say that they expand to gigabytes. So no more is opened than what a header
announces, and no file may announce more than 64 MiB and sixteen times its own size.
"""

from __future__ import annotations

import importlib
import struct
import zlib

from nopfix.verifier.reader import Malformed

ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD = 1, 2
LEGACY = 0
"""What stands for the older scheme, which has no number."""

ALLOWED, ALLOWED_TIMES = 64 << 20, 16

_CHDR = struct.Struct("<IIQQ")

Compression = tuple[int, int, int]
"""ch_type, ch_reserved, ch_addralign"""


class Opener:
    """Opens the compressed sections of one file, up to a limit for all of them."""

    def __init__(self, file_size: int) -> None:
        """`file_size` in bytes."""
        self.left = max(ALLOWED, ALLOWED_TIMES * file_size)

    def open(self, data: bytes) -> tuple[bytes, Compression]:
        """Contents of a section with SHF_COMPRESSED. Raises Malformed."""
        if len(data) < _CHDR.size:
            raise Malformed("no compression header")
        kind, reserved, size, alignment = _CHDR.unpack_from(data)
        return self._expanded(kind, data[_CHDR.size :], size), (kind, reserved, alignment)

    def open_legacy(self, data: bytes) -> tuple[bytes, Compression]:
        """Contents of a .zdebug_ section: "ZLIB", the size in big-endian, zlib data."""
        size = int.from_bytes(data[4:12], "big")
        return self._expanded(ELFCOMPRESS_ZLIB, data[12:], size), (LEGACY, 0, 1)

    def _expanded(self, kind: int, body: bytes, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise Malformed(f"expands to {size} bytes, which is too much for a file of this size")
        if kind == ELFCOMPRESS_ZLIB:
            stream = zlib.decompressobj()
            try:
                # One byte more than announced is enough to see that there are more.
                contents = stream.decompress(body, size + 1)
            except zlib.error as error:
                raise Malformed(str(error)) from None
            if stream.unused_data:
                raise Malformed(f"{len(stream.unused_data)} bytes behind what is compressed")
        elif kind == ELFCOMPRESS_ZSTD:
            contents = _zstd(body, size)
        else:
            raise Malformed(f"unknown compression {kind}")
        if len(contents) != size:
            raise Malformed(f"expands to another size than the {size} bytes that it says")
        return contents


def _zstd(body: bytes, size: int) -> bytes:
    """Decompress with the standard library of Python 3.14, or its backport."""
    for module in ("compression.zstd", "backports.zstd"):
        try:
            zstd = importlib.import_module(module)
        except ImportError:
            continue
        try:
            contents: bytes = zstd.ZstdDecompressor().decompress(body, size + 1)
        except zstd.ZstdError as error:
            raise Malformed(str(error)) from None
        return contents
    raise Malformed(
        "is compressed with zstd: pip install 'nopfix[zstd]' to verify it, or"
        " objcopy --decompress-debug-sections both objects"
    )
