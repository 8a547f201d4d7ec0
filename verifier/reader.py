"""Numbers and strings one after another, as DWARF and exception tables have them."""

from __future__ import annotations

DW_EH_PE_uleb128, DW_EH_PE_sleb128 = 0x01, 0x09
POINTER_SIZES = {0x00: 8, 0x02: 2, 0x03: 4, 0x04: 8, 0x0A: 2, 0x0B: 4, 0x0C: 8}
"""Bytes of a pointer by the low half of its DW_EH_PE_*: absptr, udata2 to 8, sdata2 to 8."""


class Malformed(Exception):
    """A section can't be decoded; the text says where and why."""


class Reader:
    """Bytes of a section with a position; raises Malformed beyond the end."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        """Read `data` from `position`, no further than `end`."""
        self.data = data
        self.position = position
        self.end_of_data = min(end, len(data))

    def unsigned(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def byte(self) -> int:
        """The next byte."""
        position = self.position
        if position >= self.end_of_data:
            raise Malformed(f"cut short at {position:#x}")
        self.position = position + 1
        return self.data[position]

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self.position
        if start + size > self.end_of_data:
            raise Malformed(f"cut short at {start:#x}")
        self.position = start + size
        return self.data[start : start + size]

    def uleb(self) -> int:
        """An unsigned LEB128 number (DWARF 5, 7.6)."""
        position = self.position
        if position < self.end_of_data and self.data[position] < 0x80:
            # Nearly all are a byte; three quarters of the time went into the loop below.
            self.position = position + 1
            return self.data[position]
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 70:
                raise Malformed(f"LEB128 too long at {self.position:#x}")

    def sleb(self) -> int:
        """A signed LEB128 number."""
        start = self.position
        value = self.uleb()
        bits = 7 * (self.position - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def string(self) -> bytes:
        """A null-terminated string, without the null."""
        end = self.data.find(b"\0", self.position, self.end_of_data)
        if end < 0:
            raise Malformed(f"string without end at {self.position:#x}")
        found = self.data[self.position : end]
        self.position = end + 1
        return found

    def initial_length(self) -> tuple[int, int]:
        """unit_length and the size of offsets that goes with it (DWARF 5, 7.4)."""
        length = self.unsigned(4)
        if length == 0xFFFFFFFF:
            return self.unsigned(8), 8
        if length >= 0xFFFFFFF0:
            raise Malformed(f"reserved initial length at {self.position - 4:#x}")
        return length, 4

    def pointer(self, encoding: int) -> int:
        """A number encoded as a DW_EH_PE_* says (LSB Core, "DWARF Exception Header Encoding")."""
        kind = encoding & 0x0F
        if kind == DW_EH_PE_uleb128:
            return self.uleb()
        if kind == DW_EH_PE_sleb128:
            return self.sleb()
        if kind not in POINTER_SIZES:
            raise Malformed(f"unknown pointer encoding {encoding:#x} at {self.position:#x}")
        return self.unsigned(POINTER_SIZES[kind])

    @property
    def done(self) -> bool:
        """True at the end."""
        return self.position >= self.end_of_data
