""".eh_frame and .debug_frame: every frame description still describes the same instructions.

A CIE stays as it was. An FDE's range follows its function; each row of the table begins where the
instruction that it began at went; all other call frame instructions stay, byte for byte. An entry
may grow when an advance needs a wider form, or shrink when one has nothing to advance over, and is
then padded with DW_CFA_nop to the same multiple as before.
"""

from __future__ import annotations

import bisect
import re
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import cfi
from nopfix.verifier.elf import SHT_PROGBITS
from nopfix.verifier.fields import Target, shown
from nopfix.verifier.pairing import END, START
from nopfix.verifier.reader import Malformed

if TYPE_CHECKING:
    from nopfix.verifier.elf import Object, Section
    from nopfix.verifier.fields import Fields


class Handler(NamedTuple):
    """A function with exception tables: where its LSDA and its code are."""

    lsda: Target
    function: Target


_AUGMENTATION = re.compile(rb"(z[PLRSBG]*|eh)?\0")


def is_eh_frame(obj: Object, section: Section) -> bool:
    """Whether a section is an .eh_frame, whatever its name is.

    `objcopy --prefix-alloc-sections` gives it another. Then it is made of entries to its end,
    begins with a CIE (id 0, version 1 or 3, an augmentation that is known), and an entry that
    points to one has an address in code where an FDE has one.
    """
    data = section.data
    if section.name == ".eh_frame":
        return True
    if section.type != SHT_PROGBITS or section.executable or len(data) < 32:
        return False
    if any(data[4:8]) or data[8] not in (1, 3) or not _AUGMENTATION.match(data, 9):
        return False
    starts = [0]
    while starts[-1] + 4 <= len(data):
        length = int.from_bytes(data[starts[-1] : starts[-1] + 4], "little")
        if length < 9 and starts[-1] + 4 != len(data):
            return False
        starts.append(starts[-1] + 4 + length)
    known = set(starts)
    addresses = {
        start + 8
        for start in starts[1:-1]
        if start + 4 - int.from_bytes(data[start + 4 : start + 8], "little") in known
    }
    return starts[-1] == len(data) and any(
        relocation.place in addresses and obj.sections[obj.target(relocation)[0]].executable
        for relocation in obj.relocations.get(section.number, ())
    )


def handlers(old: Object) -> list[tuple[int, int, int, int]]:
    """The LSDAs of IN: section and offset of each, section and offset of its function."""
    found = []
    for section in old.sections:
        relocations = old.relocations.get(section.number, ())
        # Without an augmentation that has an L in it no entry has an LSDA.
        if len(relocations) < 2 or b"L" not in section.data:
            continue
        if not is_eh_frame(old, section):
            continue
        by_place = {relocation.place: relocation for relocation in relocations}
        try:
            entries = cfi.read(section.data, eh_frame=True)
        except Malformed:
            # The same is found, and reported, where the section is compared.
            continue
        for entry in entries:
            if not isinstance(entry, cfi.Fde):
                continue
            inside = [by_place[at] for at in range(entry.start, entry.end) if at in by_place]
            if len(inside) == 2:
                function, lsda = (old.target(relocation) for relocation in inside)
                found.append((*lsda, *function))
    return found


def check(fields: Fields) -> tuple[list[Handler], dict[int, int]]:
    """Compare all entries of an .eh_frame or .debug_frame.

    Returns the LSDAs referred to, and where each entry went (old start: new start), as those of a
    linked .debug_frame name their CIE by a relocation. Raises Malformed.
    """
    eh_frame = is_eh_frame(fields.checker.old, fields.section)
    before = cfi.read(fields.old, eh_frame=eh_frame)
    after = cfi.read(fields.new, eh_frame=eh_frame)
    if len(before) != len(after):
        fields.differ("frame", None, None, f"has {len(before)} entries in IN, {len(after)} in OUT")
        return [], {}
    moved = {a.start: b.start for a, b in zip(before, after, strict=True)}
    unit = _padding_unit(before)
    handlers: list[Handler] = []
    for a, b in zip(before, after, strict=True):
        if (b.end - b.start) % unit and not isinstance(b, cfi.Terminator):
            text = f"its size is not a multiple of {unit} in OUT"
            fields.differ("frame", a.start, b.start, text)
        places = _relocations(fields, a, b)
        if places is None:
            continue
        if isinstance(a, cfi.Fde) and isinstance(b, cfi.Fde):
            if moved.get(a.cie.start) != b.cie.start:
                text = "its CIE pointer leads to another CIE in OUT"
                fields.differ("frame", a.start, b.start, text)
            function, lsda = _check_fde(fields, a, b, places)
            if function is not None and lsda is not None and eh_frame:
                handlers.append(Handler(lsda, function))
        elif isinstance(a, cfi.Cie) and isinstance(b, cfi.Cie):
            whole, new_whole = fields.raw[a.start : a.end], fields.new_raw[b.start : b.end]
            fields.equal("frame", a.start, b.start, whole, new_whole)
        elif type(a) is not type(b):
            fields.differ("frame", a.start, b.start, "an entry changed its kind")
    fields.findings.count("frame entry", len(before))
    inner = _inner_labels(fields, before, after, moved)
    return handlers, moved | inner | {len(fields.raw): len(fields.new_raw)}


def _inner_labels(
    fields: Fields, before: list[cfi.Entry], after: list[cfi.Entry], moved: dict[int, int]
) -> dict[int, int]:
    """Where labels between the instructions of entries went (gas's .cfi_label): old: new."""
    known = fields.checker.labels.offsets.get(fields.section.number, ())
    starts = [entry.start for entry in before]
    found = {}
    for label in (offset for offset in known if offset not in moved):
        position = bisect.bisect_right(starts, label) - 1
        a, b = before[position], after[position]
        if not isinstance(a, cfi.Fde) or not isinstance(b, cfi.Fde) or label > a.end:
            continue
        first, new_first = a.end - len(a.instructions), b.end - len(b.instructions)
        places, there = (cfi.boundaries(entry.instructions) for entry in (a, b))
        for (others, advances), at in places.items():
            # An advance over nothing may be gone, and the label stands where it was.
            new = there.get((others, advances), there.get((others, 0)))
            if first + at == label and new is not None:
                found[label] = new_first + new
    return found


def _relocations(fields: Fields, a: cfi.Entry, b: cfi.Entry) -> dict[int, Target | None] | None:
    """Where the relocations in an entry lead, by place; None where OUT hasn't the same ones."""
    inside = fields.between(a.start, a.end)
    new_inside = fields.between(b.start, b.end, new=True)
    shift = b.start - a.start
    if [place + shift for place in inside] != new_inside:
        fields.differ("frame", a.start, b.start, "its relocations differ in number or place")
        return None
    return {place: fields.relocated(place, place + shift) for place in inside}


def _padding_unit(entries: list[cfi.Entry]) -> int:
    """The multiple that all of IN's entries are padded to."""
    sizes = [e.end - e.start for e in entries if not isinstance(e, cfi.Terminator)]
    return next(unit for unit in (8, 4, 1) if not any(size % unit for size in sizes))


def _check_fde(
    fields: Fields, a: cfi.Fde, b: cfi.Fde, places: dict[int, Target | None]
) -> tuple[Target | None, Target | None]:
    """An FDE: its range and its rows. Returns where its function and its LSDA are."""
    if a.wide != b.wide or a.location_at - a.start != b.location_at - b.start:
        fields.differ("frame", a.start, b.start, "32-bit and 64-bit DWARF")
        return None, None
    function = places.get(a.location_at)
    lsda = next((places[place] for place in places if place > a.location_at), None)
    if function is None:
        fields.equal("frame", a.start, b.start, a.location, b.location)
    expected = fields.span(function, a.length)
    if expected != b.length:
        fields.differ(
            "frame-range",
            a.start,
            b.start,
            f"covers {a.length:#x} bytes in IN, so {shown(expected)} in OUT, but says"
            f" {b.length:#x}",
        )
    augmentation, new_augmentation = a.augmentation, b.augmentation
    fields.equal("frame", a.start, b.start, augmentation, new_augmentation)
    _check_rows(fields, a, b, function or Target(0, 0, 0))
    return function, lsda


def _check_rows(fields: Fields, a: cfi.Fde, b: cfi.Fde, function: Target) -> None:
    """The call frame instructions: the same, each at the counterpart of its location."""

    def differ(text: str) -> None:
        fields.differ("frame-row", a.start, b.start, text)

    before = cfi.rows(a.instructions, a.cie.code_factor)
    after = cfi.rows(b.instructions, b.cie.code_factor)
    if after.padding >= 8:
        differ(f"padded with {after.padding} DW_CFA_nop")
    if len(before.encoded) != len(after.encoded):
        differ(f"has {len(before.encoded)} instructions in IN, {len(after.encoded)} in OUT")
        return
    if not _same_advances(before.runs, after.runs):
        differ("its advances stand between other instructions")
    for old, new, location, new_location in zip(
        before.encoded, after.encoded, before.locations, after.locations, strict=True
    ):
        if old != new:
            differ(f"{cfi.describe(old)} at function+{location:#x} became {cfi.describe(new)}")
            continue
        # What is said at the function's end is said in front of the padding behind it.
        side = END if location == a.length else START
        expected = fields.distance(function, location, side)
        if expected != new_location:
            differ(
                f"{cfi.describe(old)} takes effect at function+{location:#x} in IN, so at"
                f" +{shown(expected)} in OUT, but does at +{new_location:#x}"
            )
    fields.findings.count("frame row", len(before.encoded))


def _same_advances(
    old_runs: tuple[tuple[int, ...], ...], new_runs: tuple[tuple[int, ...], ...]
) -> bool:
    """Whether the advances stand between the same instructions.

    One over padding that is gone in OUT is left out, as the assembler leaves out one over nothing.
    Whether that is so the rows' locations tell.
    """
    return all(
        not new or (len(new) == len(old) and (0 in old or 0 not in new))
        for old, new in zip(old_runs, new_runs, strict=True)
    )
