"""Numbers and strings one after another, as DWARF and exception tables have them."""

from __future__ import annotations


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
            byte = self.unsigned(1)
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

    @property
    def done(self) -> bool:
        """True at the end."""
        return self.position >= self.end_of_data
