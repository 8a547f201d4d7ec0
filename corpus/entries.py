"""Debugging entries by label in GCC's assembly, so that the assembler counts where they are.

GCC writes the offset of an entry as a plain number: it has worked out the size of every entry
before.  An edit that makes one longer (an index into ``.debug_addr`` that needs another byte) needs
those numbers to follow, and the assembler makes them follow once they are differences of labels.
With ``-dA`` the text says which lines are entries (``# (DIE (0x1d) DW_TAG_typedef)``), which
numbers are references (by the attribute's name) and which are a unit's length.

Not done: expressions that name an entry (DW_OP_convert and its kin).  GCC puts the base types that
they name first in the unit, in front of all that an edit changes; should one move all the same,
the two objects differ.

Source: DWARF 5, sections 7.5.1 (the length of a unit) and 7.5.4 (class reference); GCC's
dwarf2out.cc (`output_die`, `output_pubnames`).
"""

from __future__ import annotations

import re

_SPLIT_ENTRIES = re.compile(r"^\s*\.section\s+\.debug_info\.dwo\b.*\n(\.L[\w.$]+):\n", re.MULTILINE)
_SECTION = re.compile(r"^\s*\.section\b", re.MULTILINE)
_ENTRY = re.compile(r"^(?=\s*\.uleb128 .*# \(DIE \((0x[0-9a-f]+|0)\) DW_TAG_)", re.MULTILINE)
_REFERENCE = re.compile(
    r"^(\s*\.4byte\s+)(0x[0-9a-f]+)(?=\s*# (?:DIE offset|DW_AT_(?:type|sibling|abstract_origin"
    r"|call_origin|specification|import|containing_type|object_pointer|friend|extension)\b))",
    re.MULTILINE,
)
_UNIT_LENGTH = re.compile(
    r"^(\s*\.4byte\s+)0x[0-9a-f]+(\s*# Length of Compilation Unit Info\n)", re.MULTILINE
)
_NAMES_LENGTH = re.compile(
    r"^(\s*\.4byte\s+)0x[0-9a-f]+(?=\s*# Compilation Unit Length)", re.MULTILINE
)


def labelled(text: str) -> str | None:
    """Return `text` with the split unit's entries, references to them and lengths by label.

    None where the text has no split unit of 32-bit DWARF, or names an entry that it doesn't have.
    """
    unit = _SPLIT_ENTRIES.search(text)
    if unit is None:
        return None
    following = _SECTION.search(text, unit.end())
    end = following.start() if following else len(text)
    first = unit.group(1)
    known = {int(found, 16) for found in _ENTRY.findall(text, unit.end(), end)}

    def reference(match: re.Match[str]) -> str:
        named.add(int(match.group(2), 16))
        return f"{match.group(1)}.Lentry_{int(match.group(2), 16):x}-{first}"

    named: set[int] = set()
    entries = _ENTRY.sub(
        lambda match: f".Lentry_{int(match.group(1), 16):x}:\n", text[unit.end() : end]
    )
    entries, units = _UNIT_LENGTH.subn(
        r"\g<1>.Lentries_end-.Lentries_begin\g<2>.Lentries_begin:\n", entries
    )
    rest = _NAMES_LENGTH.sub(rf"\g<1>.Lentries_end-{first}", text[end:])
    entries, rest = (_REFERENCE.sub(reference, part) for part in (entries, rest))
    if units != 1 or not named <= known:
        return None
    return text[: unit.end()] + entries + ".Lentries_end:\n" + rest
