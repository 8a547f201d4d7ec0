"""LEB128: numbers as bytes of seven bits, the last one without the top bit.

The problem with this encoding is that a number that changes may change its size, and that nothing
but the bytes themselves says where a number ends.  The rules here:

* Readers take the buffer and an offset and return the value and the offset behind it.  A number
  that runs past the buffer, or on for longer than any writer pads to, raises `BadLeb128` with the
  offset where it began; callers turn that into `dwarf.errors.Unsupported` with their section.
* A writer may pad: ``80 80 00`` is a zero in three bytes.  Assemblers do so where the size had to
  be fixed before the value was known.  `encode_unsigned` takes the width to keep.

Source: DWARF 5, section 7.6 "Variable Length Data" and appendix C.
"""

from __future__ import annotations

LONGEST = 16
"""Bytes that a number may have: 10 hold 64 bits, the rest is room for padding."""


class BadLeb128(ValueError):
    """A number without an end.  ``offset`` is where it begins, in the buffer that was read."""

    def __init__(self, offset: int) -> None:
        """Keep ``offset`` for the caller's message."""
        super().__init__(f"LEB128 without an end at {offset:#x}")
        self.offset = offset


def unsigned(data: bytes | memoryview, offset: int) -> tuple[int, int]:
    """Read a ULEB128: ``(value, offset behind it)``.  Raises `BadLeb128`."""
    end = len(data)
    if not 0 <= offset < end:
        raise BadLeb128(offset)
    byte = data[offset]
    if byte < 0x80:
        return byte, offset + 1
    value = byte & 0x7F
    position = offset + 1
    end = min(end, offset + LONGEST)
    shift = 7
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise BadLeb128(offset)


def signed(data: bytes | memoryview, offset: int) -> tuple[int, int]:
    """Read an SLEB128: ``(value, offset behind it)``.  Raises `BadLeb128`."""
    value, position = unsigned(data, offset)
    if data[position - 1] & 0x40:
        value -= 1 << 7 * (position - offset)
    return value, position


def skip(data: bytes | memoryview, offset: int) -> int:
    """The offset behind the number at ``offset``.  Raises `BadLeb128`."""
    if offset >= 0:
        position = offset
        for byte in data[offset : offset + LONGEST]:
            position += 1
            if byte < 0x80:
                return position
    raise BadLeb128(offset)


def unsigned_size(value: int) -> int:
    """Bytes of the shortest ULEB128 for ``value`` (not negative)."""
    return (value.bit_length() + 6) // 7 or 1


def encode_unsigned(value: int, width: int = 0) -> bytes:
    """The ULEB128 of ``value`` (not negative), padded to ``width`` bytes where it is shorter."""
    if value < 0x80 and width <= 1:
        return bytes((value,))
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    if len(result) < width:
        result[-1] |= 0x80
        result.extend(b"\x80" * (width - len(result) - 1))
        result.append(0)
    return bytes(result)


def encode_signed(value: int) -> bytes:
    """The shortest SLEB128 of ``value``."""
    result = bytearray()
    while not -0x40 <= value < 0x40:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value & 0x7F)
    return bytes(result)
