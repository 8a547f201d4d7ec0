"""The one error of this package."""

from __future__ import annotations

from nopfix.dwarf.errors import Unsupported


def test_the_place_and_the_remedy_are_fields() -> None:
    error = Unsupported(".debug_line", 0x40, "a line table of version 6", "compile without -g")
    assert (error.section, error.offset) == (".debug_line", 0x40)
    assert (error.found, error.remedy) == ("a line table of version 6", "compile without -g")
    assert Unsupported(".debug_line", None, "found").remedy == ""
