"""The assembler as oracle for one section: the same text with and without the inserted nops.

A `Code` is a run of instructions, some of them calls, with alignment in places.  Each boundary k
between instructions has three labels: ``R<k>`` (the return address, before the slot), ``E<k>``
(what ends there) and ``S<k>`` (what begins there, behind the padding).  A test writes data that
uses these labels; `pair` assembles it behind both forms of the code, and `edits` reads off the
symbols where each boundary went, so the map owes nothing to the rewriter.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, NamedTuple

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, Phase, settings

from nopfix.dwarf.offset_map import Edit, OffsetMap
from nopfix.dwarf.section import Relocations, Section, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nopfix.dwarf.section import Rewritten

AS = "powerpc64le-linux-gnu-as"
ASSEMBLED = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # each example runs the assembler: no shrinking
)

needs_assembler = pytest.mark.skipif(shutil.which(AS) is None, reason=f"{AS} isn't installed")


class Step(NamedTuple):
    """One instruction: ``size`` bytes, a call or not, alignment of what follows (0: none)."""

    size: int = 4
    call: bool = False
    align: int = 0


Code = "Sequence[Step]"


def text(code: Sequence[Step], slots: bool, first: int = 0) -> str:
    """The assembly of ``code``, with the slots or without; boundary numbers begin at ``first``."""
    lines = [f"S{first}:"]
    for number, step in enumerate(code, first + 1):
        lines.append("bl callee" if step.call else f".space {step.size}, 1")
        lines.append(f"R{number}:")
        if step.call and slots:
            lines.append("nop")
        lines.append(f"E{number}:")
        if step.align:
            lines.append(f".p2align {step.align}")
        lines.append(f"S{number}:")
    return "\n".join(lines) + "\n"


class Object(NamedTuple):
    """An assembled object: section numbers, contents and relocations by name, symbols."""

    numbers: Mapping[str, int]
    contents: Mapping[str, bytes]
    relocations: Mapping[str, list[tuple[int, Target]]]
    symbols: Mapping[str, int]

    def section(self, name: str) -> Section:
        """A section as `dwarf` wants it."""
        found = self.relocations.get(name, [])
        return Section(
            self.numbers[name],
            name,
            self.contents[name],
            Relocations(
                [place for place, _ in found],
                list(range(len(found))),
                [0] * len(found),
                [target.section for _, target in found],
                [target.offset for _, target in found],
            ),
        )


def assemble(source: str) -> Object:
    """Assemble ``source`` and read the object with pyelftools."""
    with tempfile.NamedTemporaryFile(suffix=".o") as output:
        done = subprocess.run(
            [AS, "-o", output.name, "-"], input=source.encode(), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        elf = ELFFile(io.BytesIO(output.read()))
    table = elf.get_section_by_name(".symtab")
    symbols = list(table.iter_symbols())
    numbers, contents, relocations = {}, {}, {}
    for number, section in enumerate(elf.iter_sections()):
        if section["sh_type"] == "SHT_RELA":
            relocations[section.name.removeprefix(".rela")] = sorted(
                (
                    r["r_offset"],
                    Target(
                        _index(symbols[r["r_info_sym"]]),
                        symbols[r["r_info_sym"]]["st_value"] + r["r_addend"],
                    ),
                )
                for r in section.iter_relocations()
            )
        else:
            numbers[section.name] = number
            contents[section.name] = section.data()
    return Object(
        numbers, contents, relocations, {s.name: s["st_value"] for s in symbols if s.name}
    )


def _index(symbol: Mapping[str, object]) -> int:
    index = symbol["st_shndx"]
    return index if isinstance(index, int) else 0


class Pair(NamedTuple):
    """The two objects, and the maps of the code sections by number."""

    plain: Object
    want: Object
    maps: Mapping[int, OffsetMap]


def pair(sections: Mapping[str, Sequence[Step]], data: str) -> Pair:
    """Assemble the code ``sections`` (by name) and ``data`` without and with the slots.

    Boundaries are numbered through all the sections, in order.
    """
    objects = []
    for slots in (False, True):
        parts = []
        first = 0
        for name, code in sections.items():
            parts.append(f'.section {name},"ax",@progbits\n' + text(code, slots, first))
            first += len(code) + 1
        objects.append(assemble("".join(parts) + data))
    plain, want = objects
    maps = {}
    first = 0
    for name, code in sections.items():
        maps[plain.numbers[name]] = OffsetMap(edits(plain, want, first, first + len(code)))
        first += len(code) + 1
    return Pair(plain, want, maps)


def edits(plain: Object, want: Object, first: int, last: int) -> list[Edit]:
    """What happened at each boundary from ``first`` to ``last``, from the symbols alone."""
    found = []
    shift = 0
    for k in range(first, last + 1):
        new = {side: want.symbols.get(f"{side}{k}") for side in "RES"}
        begin = plain.symbols[f"S{k}"]
        if k > first:
            end = plain.symbols[f"E{k}"]
            before, after = new["R"] - end - shift, new["E"] - end - shift
            # Padding that the old code had is behind what ends here, so it is a boundary of its
            # own; padding that is new lies between the two sides of this one.
            start = new["S"] - begin - shift if begin == end else after
            if before or after or start:
                found.append(Edit(end, before, after, start))
            shift += start
        grown = new["S"] - begin - shift
        if grown:
            found.append(Edit(begin, grown, grown, grown))
        shift += grown
    return found


def check(
    pair: Pair, name: str, rewritten: Rewritten | None, maps: Mapping[int, OffsetMap]
) -> None:
    """Assert that ``rewritten`` is what the assembler made of section ``name``.

    ``maps`` are those of all sections that moved, for the targets of relocations.
    """
    old = pair.plain.section(name)
    data = old.data if rewritten is None else rewritten.data
    assert bytes(data) == pair.want.contents[name]
    own = OffsetMap() if rewritten is None else rewritten.map
    sides = {} if rewritten is None else rewritten.sides
    moved = []
    for place, target in pair.plain.relocations.get(name, []):
        code = maps.get(target.section, OffsetMap())
        offset = code.move(target.offset, sides.get(place, "start"))
        moved.append((own.start(place), Target(target.section, offset)))
    targets = dict(pair.plain.relocations.get(name, []))
    for place, new_place, side in rewritten.copies if rewritten else ():
        target = targets[place]
        offset = maps[target.section].move(target.offset, side)
        moved.append((new_place, Target(target.section, offset)))
    assert sorted(moved) == pair.want.relocations.get(name, [])
