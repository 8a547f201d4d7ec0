"""Compressed sections: opened for the rewrite, closed again in the same way.

The problem: ``gcc -gz`` and ``as --compress-debug-sections`` compress the debug sections of an
object, but their relocations and everything that refers into them go by the uncompressed bytes.
The rule: `dwarf` gets the uncompressed bytes; a section that has changed is compressed again with
the algorithm and the level that the assembler used; one that hasn't keeps its bytes.

Three forms exist:

* SHF_COMPRESSED with ELFCOMPRESS_ZLIB or ELFCOMPRESS_ZSTD: an Elf64_Chdr and the compressed data.
  A section is in this form only where that makes it smaller, header included; gas, LLVM and the
  linker agree on that, but LLVM of before takes the header for one of Elf32_Chdr's size (up to 16;
  later ones may, where a section shows it that got no smaller).  So a section that has grown may
  lose its form, or gain it (`compress_again`): the flag goes and comes, and sh_addralign, which is
  the header's (8), changes places with ch_addralign.  (Versions of zstd's library differ by a few
  bytes, and so may the answer at the border.)
* ``.zdebug_*``, GNU's form of before (``-gz=zlib-gnu``): "ZLIB", the size as eight big-endian
  bytes, zlib data.  gas gives the name to those sections only that got smaller.  A name isn't
  changed here, so a section in this form stays in it even where that saves nothing any more.

The sizes come from the file, so they aren't trusted: never more than the announced size is
decompressed, and what all of an object's sections announce together may be `MOST_EXPANDED` times
the file and `EXPANDED_FREELY` more (`check`).  Debug information of compilers stays far below that:
it comes with relocations, which aren't compressed, so the sections of an object aren't even as
large as its file, and those of a .dwo file, which has none, are four times as large.  A rewrite
takes two to three times the expanded bytes in memory.  Whoever trusts the file allows more
(`Options.allow`, COMPRESSION_RATIO).  Nor is ch_addralign trusted: a section that loses its form is
put at a multiple of it in the file, and no alignment beyond a page is any compiler's.

Source: System V gABI, chapter 4 "Section Compression"; zlib's technical notes on its largest
ratio; RFC 1950 and RFC 8878 (a block is 128 KiB at most, and of 4 bytes at least); binutils,
gas/write.c (`compress_debug`), and LLVM, ELFObjectWriter.cpp (`maybeWriteCompression`).
"""

from __future__ import annotations

import struct

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import ModuleType

ELFCOMPRESS_ZLIB = 1
ELFCOMPRESS_ZSTD = 2

_HEADER = struct.Struct("<IIQQ")
_SIZE_OF_ELF32_CHDR = 12
_LAST_LLVM_THAT_TAKES_IT = 16
_GNU_MAGIC = b"ZLIB"
_GNU_HEADER = struct.Struct(">4sQ")

_HEADER_ALIGNMENT = 8
_DEBUG_PREFIX = ".debug_"

_LLVMS_ZSTD_LEVEL = 5
_FRAME_DESCRIPTOR = 4
_HAS_CONTENT_SIZE = 0xE0

_LARGEST_RATIO = {ELFCOMPRESS_ZLIB: 1032, ELFCOMPRESS_ZSTD: 1 << 15}
_SMALLEST_LIMIT = 1 << 17
_LARGEST_ALIGNMENT = 1 << 12

COMPRESSION_RATIO = "compression-ratio"
"""What `Options.allow` calls sections that are compressed by more than `check` lets pass."""
MOST_EXPANDED = 8
EXPANDED_FREELY = 8 << 20

_BROKEN = "the file is truncated or inconsistent; build it again"
_PLAIN = "decompress it first (objcopy --decompress-debug-sections), or build without -gz"


class Compressed(Record):
    """Sections as they go into the file: their bytes, by number, and the section headers of those
    whose flags and alignment have changed.
    """

    contents: dict[int, bytes | bytearray | memoryview]
    headers: dict[int, elf.Section]


class _Compression(Record):
    """How a section is compressed.

    ``header`` are the bytes in front of the compressed data, ``type`` an ELFCOMPRESS_* value,
    ``size`` the uncompressed size in bytes, ``alignment`` that of the uncompressed section (0: not
    in the header).
    """

    header: bytes
    type: int
    size: int
    alignment: int


def check(obj: elf.Object, allow: Collection[str] = ()) -> None:
    """Raise `Refusal` where the compressed sections of ``obj`` announce too many bytes together.

    Unless ``allow`` has COMPRESSION_RATIO in it.  Nothing is decompressed.
    """
    if COMPRESSION_RATIO in allow:
        return
    left = MOST_EXPANDED * len(obj.data) + EXPANDED_FREELY
    for section in obj.sections:
        if section.is_compressed:
            how = _compression(section, obj.contents(section.number))
            left -= how.size if how else 0
            if left < 0:
                raise _refusal(
                    section,
                    f"compressed sections of more than {MOST_EXPANDED} times the file's"
                    f" {len(obj.data)} bytes",
                    f"build without -gz, or say --allow {COMPRESSION_RATIO}",
                )


def decompress(section: elf.Section, data: bytes | memoryview) -> bytes:
    """The uncompressed bytes of ``section``, whose bytes in the file are ``data``.

    Raises `Refusal` when the data is damaged, of an unknown type, or needs a library that isn't
    installed.
    """
    how = _compression(section, data)
    if how is None:
        return bytes(data)
    limit = max(_LARGEST_RATIO[how.type] * len(data), _SMALLEST_LIMIT)
    if how.size > limit:
        raise _refusal(section, f"{len(data)} bytes can't hold {how.size} compressed ones")
    packed = bytes(data[len(how.header) :])
    expand = _expand_zstd if how.type == ELFCOMPRESS_ZSTD else _expand_zlib
    plain = expand(section, packed, how.size)
    if plain is None or len(plain) != how.size:
        raise _refusal(section, f"compressed data that isn't {how.size} bytes of contents")
    return plain


def compress_again(
    obj: elf.Object, contents: Mapping[int, bytes | bytearray | memoryview]
) -> Compressed:
    """The new ``contents`` of sections of ``obj``, by number, compressed as the assembler would.

    Raises `Refusal` like `decompress`.
    """
    packed = dict(contents)
    headers = {}
    shown = _shown_by(obj)
    uncounted = _HEADER.size - _counted_header(obj) if shown else 0
    for number, data in contents.items():
        section, original = obj.sections[number], obj.contents(number)
        if section.is_compressed:
            how = _compression(section, original)
            packed[number] = compress_like(section, original, data) if data else b""
            if how and how.alignment and len(packed[number]) - uncounted >= len(data):
                packed[number] = data
                flags = section.flags & ~elf.SHF_COMPRESSED
                headers[number] = section._replace(flags=flags, alignment=how.alignment)
        elif shown and section.name.startswith(_DEBUG_PREFIX) and len(data) > _HEADER.size:
            example, like = shown
            before, after = (compress_like(example, like, plain) for plain in (original, data))
            was_worth_it = len(before) - uncounted < len(original)
            if not was_worth_it and len(after) - uncounted < len(data):
                packed[number] = after[:16] + struct.pack("<Q", section.alignment) + after[24:]
                flags = section.flags | elf.SHF_COMPRESSED
                headers[number] = section._replace(flags=flags, alignment=_HEADER_ALIGNMENT)
    return Compressed(packed, headers)


def _counted_header(obj: elf.Object) -> int:
    """The size of the header that the assembler counted when it asked what is worth compressing."""
    for section in obj.sections:
        if section.name == ".comment":
            _, found, behind = bytes(obj.contents(section.number)).partition(b"clang version ")
            major = behind.partition(b".")[0]
            if found and major.isdigit() and int(major) <= _LAST_LLVM_THAT_TAKES_IT:
                return _SIZE_OF_ELF32_CHDR
        elif section.flags & elf.SHF_COMPRESSED and section.name.startswith(_DEBUG_PREFIX):
            how = _compression(section, obj.contents(section.number))
            if how is not None and section.size >= how.size:
                return _SIZE_OF_ELF32_CHDR
    return _HEADER.size


def _shown_by(obj: elf.Object) -> tuple[elf.Section, memoryview] | None:
    """A section that shows how the assembler compressed those of this object, with its bytes."""
    for section in obj.sections:
        if section.flags & elf.SHF_COMPRESSED and section.name.startswith(_DEBUG_PREFIX):
            return section, obj.contents(section.number)
    return None


def compress_like(
    section: elf.Section, original: bytes | memoryview, data: bytes | bytearray | memoryview
) -> bytes:
    """Compress ``data`` in the way in which ``section`` was, whose bytes were ``original``.

    Returns the section's new bytes, header included.  Raises `Refusal` like `decompress`.
    """
    how = _compression(section, original)
    if how is None:
        return bytes(data)
    if how.type == ELFCOMPRESS_ZSTD:
        packed = _compress_zstd(section, bytes(original[len(how.header) :]), bytes(data))
    else:
        import zlib

        # The default level is what gas uses: the same zlib gives the same bytes.
        packed = zlib.compress(data)
    header = bytearray(how.header)
    if section.flags & elf.SHF_COMPRESSED:
        struct.pack_into("<Q", header, 8, len(data))
    else:
        struct.pack_into(">Q", header, 4, len(data))
    return bytes(header) + packed


def _compression(section: elf.Section, data: bytes | memoryview) -> _Compression | None:
    """Read the header; None when the section turns out not to be compressed.

    gas leaves a section as it is that doesn't get smaller, in GNU's form without renaming it back.
    """
    if section.flags & elf.SHF_COMPRESSED:
        if len(data) < _HEADER.size:
            raise _refusal(section, "a truncated compression header")
        kind, _, size, alignment = _HEADER.unpack_from(data)
        if kind not in _LARGEST_RATIO:
            raise _refusal(section, f"compression type {kind}", _PLAIN)
        if alignment & (alignment - 1):
            raise _refusal(section, f"an uncompressed alignment of {alignment}")
        if alignment > _LARGEST_ALIGNMENT:
            raise _refusal(section, f"an uncompressed alignment of {alignment}", _PLAIN)
        return _Compression(bytes(data[: _HEADER.size]), kind, size, alignment or 1)
    if section.name.startswith(elf.GNU_PREFIX) and bytes(data[:4]) == _GNU_MAGIC:
        if len(data) < _GNU_HEADER.size:
            raise _refusal(section, "a truncated compression header")
        _, size = _GNU_HEADER.unpack_from(data)
        return _Compression(bytes(data[: _GNU_HEADER.size]), ELFCOMPRESS_ZLIB, size, 0)
    return None


def _expand_zlib(section: elf.Section, packed: bytes, size: int) -> bytes | None:
    """Decompress zlib data to ``size`` bytes, or a little more when there are more."""
    import zlib

    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise _refusal(section, f"damaged zlib data ({error})") from error
    return plain if stream.eof and not stream.unused_data else None


def _expand_zstd(section: elf.Section, packed: bytes, size: int) -> bytes | None:
    """The same for zstd."""
    library = _zstd(section)
    stream = library.ZstdDecompressor()
    try:
        plain: bytes = stream.decompress(packed, size + 1)
    except library.ZstdError as error:
        raise _refusal(section, f"damaged zstd data ({error})") from error
    return plain if stream.eof and not stream.unused_data else None


def _compress_zstd(section: elf.Section, original: bytes, data: bytes) -> bytes:
    """Compress ``data`` as the writer of the frame ``original`` did.

    gas streams at the default level, so its frames don't say how large the contents are; LLVM
    compresses in one go, at level 5, and its frames do (RFC 8878, 3.1.1.1.1).
    """
    library = _zstd(section)
    if len(original) > _FRAME_DESCRIPTOR and original[_FRAME_DESCRIPTOR] & _HAS_CONTENT_SIZE:
        whole: bytes = library.compress(data, _LLVMS_ZSTD_LEVEL)
        return whole
    stream = library.ZstdCompressor()
    streamed: bytes = stream.compress(data) + stream.flush()
    return streamed


def _zstd(section: elf.Section) -> ModuleType:
    """The zstd library.  Imported for nobody else; raises `Refusal` where there is none."""
    from nopfix.rewriter.object import zstd

    library = zstd.library()
    if library is None:
        raise _refusal(section, zstd.MISSING, f"{zstd.INSTALL}, or build with -gz=zlib")
    return library


def _refusal(section: elf.Section, found: str, remedy: str = _BROKEN) -> Refusal:
    return Refusal(found, section=section.name, offset=0, remedy=remedy)
