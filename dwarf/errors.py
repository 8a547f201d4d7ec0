"""The one error of this package: content that can't be moved with certainty."""

from __future__ import annotations


class Unsupported(Exception):
    """A section holds something malformed, unknown or ambiguous.

    ``section`` is the section's name, ``offset`` the section offset in bytes (None when the section
    as a whole is meant), ``found`` what was seen there, ``remedy`` what the user can do about it.
    """

    def __init__(self, section: str, offset: int | None, found: str, remedy: str = "") -> None:
        """Keep the place in fields; the message is for developers."""
        super().__init__(section, offset, found, remedy)
        self.section = section
        self.offset = offset
        self.found = found
        self.remedy = remedy
