"""Files that are compressed as a whole: ``foo.ko.xz``, ``foo.ko.zst``, ``foo.ko.gz``.

The problem: distributions compress kernel modules, and who gives one back must give it in a form
that its readers open: kmod, and since Linux 5.17 the kernel itself, which knows fewer forms.
The rule: what IN is, its first bytes say.  What OUT is to be, its name says where it ends like a
compressed file's or like an object's; any other name, one's own included, leaves it as IN is.
It is made with the options of the kernel's own ``make modules_install``, which need no more than
the kernel has: xz with CRC32 and a dictionary of 1 MiB, zstd at its default level with a checksum,
gzip without name and time.  What hasn't changed comes back byte for byte.

A size isn't trusted: no more is expanded than compressed sections may be (`compressed`).

Source: Linux, scripts/Makefile.modinst and kernel/module/decompress.c; RFC 1952 (gzip), RFC 8878
(zstd); the .xz file format 1.2.1.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object.compressed import (
    COMPRESSION_RATIO,
    EXPANDED_FREELY,
    MOST_EXPANDED,
)
from nopfix.rewriter.object.magic import packing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import ModuleType
    from typing import Protocol

    class _Stream(Protocol):
        """What the decompressors of zlib, lzma and zstd have in common."""

        @property
        def eof(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_ENDINGS = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
_PLAIN_ENDINGS = (".o", ".ko", ".a", ".rlib", ".obj")
_GZIP = 31  # zlib's "wbits" for gzip's header
_DICTIONARY = 1 << 20
_NO_LIMIT = 1 << 62


def wanted(path: str, own: str | None) -> str | None:
    """How the file ``path`` is to be packed, in the place of one that is packed as ``own``."""
    for ending, how in _ENDINGS.items():
        if path.endswith(ending):
            return how
    return None if path.endswith(_PLAIN_ENDINGS) else own


def unpack(data: bytes, allow: Collection[str] = ()) -> bytes:
    """The contents of ``data``, which `magic.packing` knows; ``allow`` is that of `Options`.

    Raises `Refusal` when it is damaged, expands too far, or needs a library that isn't installed.
    """
    how = packing(data)
    make: Callable[[], _Stream]
    damaged: type[Exception]
    if how == "gzip":
        import zlib

        make, damaged = (lambda: zlib.decompressobj(_GZIP)), zlib.error
    elif how == "xz":
        import lzma

        make, damaged = lzma.LZMADecompressor, lzma.LZMAError
    else:
        library = _zstd()
        make, damaged = library.ZstdDecompressor, library.ZstdError
    limit = MOST_EXPANDED * len(data) + EXPANDED_FREELY
    if COMPRESSION_RATIO in allow:
        limit = _NO_LIMIT
    try:
        return _unpack(make, data, limit)
    except (damaged, EOFError) as error:
        raise Refusal(f"damaged {how} data ({error})", remedy="copy or build it again") from error


def _unpack(make: Callable[[], _Stream], data: bytes, limit: int) -> bytes:
    """All streams of ``data`` one behind the other, as xz -d and its like give them."""
    chunks = []
    left, rest = limit, data
    while rest:
        stream = make()
        chunks.append(stream.decompress(rest, left + 1))
        left -= len(chunks[-1])
        if left < 0:
            raise Refusal(
                f"a compressed file of more than {MOST_EXPANDED} times its {len(data)} bytes",
                remedy=f"decompress it first, or say --allow {COMPRESSION_RATIO}",
            )
        if not stream.eof:
            raise EOFError("it ends too soon")
        rest = stream.unused_data.lstrip(b"\0")  # xz pads streams, tapes pad files
    return b"".join(chunks)


def pack(data: bytes, how: str | None) -> bytes:
    """``data`` in the form ``how`` (None: as it is).  Raises `Refusal` like `unpack`."""
    if how is None:
        return data
    if how == "gzip":
        import zlib

        stream = zlib.compressobj(wbits=_GZIP)
        return stream.compress(data) + stream.flush()
    if how == "xz":
        import lzma

        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": _DICTIONARY}]
        return lzma.compress(data, check=lzma.CHECK_CRC32, filters=filters)
    library = _zstd()
    options = {library.CompressionParameter.checksum_flag: 1}
    packed: bytes = library.compress(data, options=options)
    return packed


def _zstd() -> ModuleType:
    from nopfix.rewriter.object import zstd

    library = zstd.library()
    if library is None:
        raise Refusal(zstd.MISSING, remedy=f"{zstd.INSTALL}, or unzstd it first")
    return library
