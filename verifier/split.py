"""The .dwo beside an object: split units, and what they refer to (DWARF 5, 7.3.2; GNU's scheme
before that, GCC's wiki, "DebugFission").

A .dwo has no code and no relocations. Its units take their addresses from the object's
.debug_addr, so whether either is right only both can tell. LLVM can leave split units in the object
(-gsplit-dwarf=single); the sections of a .dwo are put where these would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import container
from nopfix.verifier.elf import Object, Section, read

if TYPE_CHECKING:
    from nopfix.verifier.report import Findings


class Split(NamedTuple):
    """A .dwo of IN and its counterpart of OUT."""

    old: Object
    new: Object


def read_both(old: bytes, new: bytes) -> Split:
    """Decode a .dwo of IN and that of OUT.  Raises verifier.elf.Unreadable."""
    before = read(old)
    return Split(before, read(new, like=before))


def check(split: Split, findings: Findings) -> bool:
    """Compare all of a .dwo but what `beside` takes; False when its sections can't be compared."""
    if not container.check_headers(*split, findings):
        return False
    for section, counterpart in zip(split.old.sections, split.new.sections, strict=True):
        if not _is_split(section):
            container.check_bytes(section, counterpart, findings)
    return True


def beside(obj: Object, dwo: Object) -> Object:
    """The object with the debug information of its .dwo behind its own sections."""
    sections = list(obj.sections)
    for section in filter(_is_split, dwo.sections):
        sections.append(section._replace(number=len(sections)))
    return obj._replace(sections=tuple(sections))


def _is_split(section: Section) -> bool:
    return section.name.endswith(".dwo")
