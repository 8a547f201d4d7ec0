"""Sections that point into code, and what their numbers mean.

The problem: the kernel (and others) keep tables of code addresses in sections of their own:
exceptions, bugs, static keys, feature fix-ups.  Most hold relocations whose addend is the target,
and those move like any relocation.  Two kinds don't:

- A field that is relative to the start of its *entry* rather than to itself.  PC-relative
  relocations only know the place, so the assembler adds the distance to the addend::

      label5: .8byte mask                      entry + 0
              .8byte value                     entry + 8
              .8byte label1b - label5b         entry + 16: REL64 .text + label1 + 16
              .8byte label2b - label5b         entry + 24: REL64 .text + label2 + 24

  Taking such an addend for the target itself is wrong as soon as something is inserted between the
  two.  `base_relative` finds these fields.

- A distance inside the code that the assembler resolved to a number without a relocation.  Nothing
  marks it, so a section known to hold such numbers is refused once its code moves.

The rule for a section that isn't in the table: nothing says which base its PC-relative fields have,
so `check` tries every base in the section, and refuses where the answers would differ.

A feature section's alternative replaces code in place when the kernel boots, so it must not be
larger than that code (`check_feature_sections`); the kernel refuses it otherwise.

Source: see `object.kernel_sections`, and Linux arch/powerpc/include/asm/feature-fixups.h for the
entries; 64-bit ELFv2 ABI, 3.5 (R_PPC64_REL32, R_PPC64_REL64).
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.layout import calls
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.kernel_sections import Descriptor, describe, is_elsewhere
from nopfix.rewriter.power import instruction, relocation

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.rewriter.object.program import Place, Program, Reference
    from nopfix.rewriter.options import Options
    from nopfix.rewriter.proof.analysis import Analysis

FEATURE_SECTIONS = frozenset(("__ftr_fixup", "__mmu_ftr_fixup", "__fw_ftr_fixup"))

_LONGEST_ALTERNATIVE = 255

_ALTERNATIVES = "__ftr_alt_"
"""What the names of the sections begin with that hold the alternatives of feature sections."""

_REPORT = "leave this file to the compiler's own slots, and report the section"


def bases(
    program: Program,
    maps: Mapping[int, OffsetMap],
    analysis: Analysis,
    options: Options,
) -> dict[int, dict[int, int]]:
    """What base-relative addends count from, by section and place, once code moves by ``maps``.

    ``maps`` are the offset maps of the sections that move, by number; ``analysis`` has the bases
    that a branch was proved to use, and what is left as it is.  Raises `Refusal` where a section's
    numbers would be uncertain, or where it doesn't have the layout that its name promises.
    """
    known = {**base_relative(program, maps, options.plain_sections), **analysis.base_relative}
    _check_alternatives(program, analysis, calls.Selection(options.only, options.exempt))
    check(program, maps, known, options.plain_sections)
    found: dict[int, dict[int, int]] = {}
    for (section, place), base in known.items():
        found.setdefault(section, {})[place] = base
    return found


def base_relative(
    program: Program, moved: Container[int], plain: Container[str] = ()
) -> dict[Place, int]:
    """Relocations whose addend is ``target + (place - base)``, with their base.

    Keys are (section number, place), values section offsets in bytes into the section that holds
    the place.  Of known sections only relocations that point into one of the sections ``moved`` are
    listed, and only those whose base isn't the place itself; ``plain`` are as for `check`.

    Raises `Refusal` where a section doesn't have the layout that its name promises.
    """
    found = {}
    for section, references, descriptor in _pointing_sections(program):
        if descriptor is None and section.name not in plain:
            from nopfix.rewriter.references import relative_vtables

            own = relative_vtables.bases(program, references)
            found.update({(section.number, place): base for place, base in own.items()})
        if descriptor is None or descriptor.meaning != "entry":
            continue
        size = descriptor.entry_size
        for reference in references:
            if reference.target not in moved:
                continue
            field = reference.place % size
            if (
                section.size % size
                or field not in descriptor.code_fields
                or reference.type != relocation.REL64
            ):
                raise Refusal(
                    f"not the layout of {size}-byte entries that is known for this section",
                    section=section.name,
                    offset=reference.place,
                    remedy=_REPORT,
                )
            if field:
                found[section.number, reference.place] = reference.place - field
    return found


def check(
    program: Program,
    maps: Mapping[int, OffsetMap],
    proved: Container[Place] = (),
    plain: Container[str] = (),
) -> None:
    """Raise `Refusal` where moving code by ``maps`` would make a section's numbers uncertain.

    ``maps`` holds the offset map of each section that moves, by section number.  ``proved`` are the
    (section number, place) of relocations whose base is known (a switch table's, a vtable's);
    ``plain`` names unknown sections whose fields the user says are relative to themselves.
    """
    moved = {number for number, offsets in maps.items() if offsets}
    for section, references, descriptor in _pointing_sections(program):
        if not moved:
            break
        if descriptor is None:
            if section.name not in plain:
                _check_unknown(program, section, references, maps, proved)
        elif descriptor.meaning in _CHECKS:
            for reference in references:
                offsets = maps.get(reference.target)
                if offsets:
                    _CHECKS[descriptor.meaning](program, section, reference, offsets)
    check_feature_sections(program, maps)


def check_feature_sections(program: Program, maps: Mapping[int, OffsetMap]) -> None:
    """Raise `Refusal` when an alternative would outgrow the code that it replaces.

    ``maps`` holds the offset map of each section that moves, by section number.
    """
    for section, entry, fields in _feature_entries(program):
        if any(number in maps for number, _ in fields):
            _check_feature_section(program, section, entry, fields, maps)


def _feature_entries(program: Program) -> Iterator[tuple[elf.Section, int, Sequence[Place]]]:
    """Each entry of the feature sections: section, offset, and what it points to: the first and the
    last of the code that is replaced, and of its alternative.
    """
    for section, references, descriptor in _pointing_sections(program):
        if section.name not in FEATURE_SECTIONS or descriptor is None:
            continue
        targets: dict[int, list[Place]] = {}
        for reference in references:
            entry = reference.place - reference.place % descriptor.entry_size
            target = reference.target, reference.offset - (reference.place - entry)
            targets.setdefault(entry, []).append(target)
        for entry, fields in targets.items():
            yield section, entry, fields


def _check_feature_section(
    program: Program,
    section: elf.Section,
    entry: int,
    fields: Sequence[Place],
    maps: Mapping[int, OffsetMap],
) -> None:
    sections = [number for number, _ in fields]
    if (
        len(fields) != 4
        or sections[0] != sections[1]
        or sections[2] != sections[3]
        or not 0 <= fields[0][1] <= fields[1][1]
        or not 0 <= fields[2][1] <= fields[3][1]
    ):
        raise Refusal(
            "an entry that doesn't hold two ranges of code",
            section=section.name,
            offset=entry,
            remedy=_REPORT,
        )
    moved = [maps[number].start(offset) if number in maps else offset for number, offset in fields]
    code, alternative = moved[1] - moved[0], moved[3] - moved[2]
    if alternative > code:
        number, offset = fields[2]
        raise Refusal(
            f"with its slots the alternative has {alternative} bytes, the code it replaces {code}",
            section=program.name(number),
            offset=offset,
            remedy="pad the code that it replaces with a nop for each call in the alternative",
        )


def _pointing_sections(
    program: Program,
) -> Iterator[tuple[elf.Section, Sequence[Reference], Descriptor | None]]:
    """The sections with relocations that aren't code and aren't looked after elsewhere."""
    for number in program.filled:
        section = program.obj.sections[number]
        if not program.is_code(number) and not is_elsewhere(section):
            yield section, program.references_from(number), describe(section.name)


def _check_unknown(
    program: Program,
    section: elf.Section,
    references: Iterable[Reference],
    maps: Mapping[int, OffsetMap],
    proved: Container[Place],
) -> None:
    """Refuse a PC-relative field that moves differently depending on where its base is.

    With its base at b the target is ``offset - (place - b)``.  As b runs over the section, the
    target runs over a window of the section's size, and all of it has to move by one amount.
    """
    symbols = program.obj.symbols
    for _, place, kind, symbol, number, offset in references:
        offsets = maps.get(number)
        if kind not in relocation.FROM_A_BASE or not offsets:
            continue
        if symbols.type(symbol) != elf.STT_SECTION and offset == symbols.values[symbol]:
            continue  # exactly a symbol: it carries no distance
        lowest, highest = offset - place, offset - place + section.size
        first = bisect_right(offsets.places, lowest)
        if first == bisect_right(offsets.places, highest) or (section.number, place) in proved:
            continue
        raise Refusal(
            f"PC-relative field for {program.name(number)}+{offset:#x} whose base is unknown,"
            " with calls to fix near by",
            section=section.name,
            offset=place,
            remedy="if each field is relative to itself, and no other number there is a length or"
            f" an offset of code, say --plain-section {section.name}",
        )


def _check_resolved(
    program: Program, section: elf.Section, reference: Reference, offsets: OffsetMap
) -> None:
    raise Refusal(
        f"distances inside {program.name(reference.target)} as plain numbers",
        section=section.name,
        offset=reference.place,
        remedy="compile without the option that makes this section",
    )


def _check_alternative(
    program: Program, section: elf.Section, reference: Reference, offsets: OffsetMap
) -> None:
    """Refuse an insertion that may lie inside code whose length is a plain number."""
    start = reference.offset
    first = bisect_right(offsets.places, start)
    if first != bisect_right(offsets.places, start + _LONGEST_ALTERNATIVE):
        raise Refusal(
            f"an alternative at {program.name(reference.target)}+{start:#x} with a call to fix in"
            " or right behind it",
            section=section.name,
            offset=reference.place,
            remedy="its length is a plain number; put the slot into the source",
        )


def _check_sequence(
    program: Program, section: elf.Section, reference: Reference, offsets: OffsetMap
) -> None:
    """Refuse an insertion in a restartable sequence, whose length is a plain number."""
    start, place = reference.offset, reference.place
    if place % 32 != 8:
        return
    data = program.obj.contents(section.number)
    length = int.from_bytes(data[place + 8 : place + 16], "little")
    if offsets.start(start + length) - offsets.start(start) != length:
        raise Refusal(
            f"a restartable sequence at {program.name(reference.target)}+{start:#x} with a call to"
            " fix in it",
            section=section.name,
            offset=place,
            remedy="its length is a plain number; keep calls out of the sequence",
        )


_CHECKS: Mapping[str, Callable[[Program, elf.Section, Reference, OffsetMap], None]] = {
    "resolved": _check_resolved,
    "alternative": _check_alternative,
    "sequence": _check_sequence,
}
"""What is asked, by meaning, of each reference to code that moves."""


def _check_alternatives(program: Program, analysis: Analysis, selection: calls.Selection) -> None:
    """`_check_calls` for each alternative but those of code that is left as it is."""
    alternatives = [
        section
        for section, _, _ in _pointing_sections(program)
        if section.name.startswith(_ALTERNATIVES)
    ]
    if not alternatives:
        return
    left: set[int] = set()
    for _, _, fields in _feature_entries(program):
        if fields[0][0] in analysis.unproved:
            left.update(number for number, _ in fields)
    for section in alternatives:
        if section.number not in left:
            _check_calls(program, section, selection)


def _check_calls(program: Program, section: elf.Section, selection: calls.Selection) -> None:
    """Refuse a call without slot in an alternative, whether or not code moves: inserting there
    would make it outgrow what it replaces.
    """
    words = program.words(section.number)
    places = [
        place
        for place, kind in program.fields_of(section.number)
        if kind == relocation.REL24
        and place >> 2 < len(words)
        and instruction.is_call(words[place >> 2])
    ]
    for site in calls.find(program, section.number, places, selection):
        if site.action == "insert":
            raise Refusal(
                f"the alternative of a feature section calls {site.callee} without a slot",
                section=section.name,
                offset=site.place,
                remedy="write a nop behind the call, in the alternative and in what it replaces",
            )
