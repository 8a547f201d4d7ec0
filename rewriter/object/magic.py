"""What a file is, by its first bytes.

Source: gABI 4, chapter 4 (ELF header); 64-bit ELFv2 ABI, 3.2.1 (e_flags);
LLVM, docs/BitCodeFormat.rst; RFC 1952 (gzip), RFC 8878 (zstd), the .xz file format 1.2.1.
"""

from __future__ import annotations

_BITCODE = b"BC\xc0\xde"
_ELF64_LITTLE = b"\x7fELF\x02\x01"
_PACKED = {b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}
PACKED_ENDINGS = (".xz", ".zst", ".gz")


def packing(data: bytes) -> str | None:
    """How a file is compressed as a whole: "xz", "zstd", "gzip", or None."""
    for magic, how in _PACKED.items():
        if data.startswith(magic):
            return how
    return None


def is_bitcode(data: bytes) -> bool:
    """Whether ``data`` is LLVM's intermediate code."""
    return data.startswith(_BITCODE)


def is_ours(data: bytes) -> bool:
    """Whether ``data`` is a relocatable 64-bit little-endian PowerPC object, not of ELFv1."""
    if not data.startswith(_ELF64_LITTLE) or len(data) < 64:
        return False
    kind = int.from_bytes(data[16:18], "little")
    machine = int.from_bytes(data[18:20], "little")
    flags = int.from_bytes(data[48:52], "little")
    # Without a word in e_flags it is function descriptors that tell ELFv1 from ELFv2.
    elfv1 = flags & 3 == 1 or (flags & 3 == 0 and b".opd\0" in data)
    return kind == 1 and machine == 21 and not elfv1
