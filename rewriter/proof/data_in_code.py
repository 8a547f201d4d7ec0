"""What in a code section isn't code, and which numbers in it (and in data) are distances in code.

The problem: compilers put tables between functions and inside them.  Read as instructions they give
branches that aren't there; moved as they are, they hold distances that are no longer true.

The rule, by kind:

- *TOC words* (-mcmodel=large): eight bytes in front of a function, relocated R_PPC64_REL64 against
  ``.TOC.``;
- *traceback tables*: from a word of zeros to the end of the function, eight bytes and the optional
  fields that their flags announce.  ``tb_offset`` is the distance from the start of the function;
- *switch tables*: found through the code that jumps through them (`indirect`, `switch_table`);
- *type hashes*: words in front of a function that callers compare (`function_prefix`);
- *relocated data*: a word in code that a relocation makes an address; there is no such instruction.
- *objects*: what a symbol of type STT_OBJECT says is one.  GHC gives its code that type, too, so it
  doesn't count where a relocation fills a field that only instructions have, or where a branch
  with a relocation leads to.

A word whose primary opcode is 0 is never an instruction.  One that isn't explained by the above
(inline assembly: ``.long``, ``.ascii``) stands for data of unknown extent.  That is harmless unless
one of its neighbours would be taken for a branch and changed: so every branch of such a function
that isn't relocated has to lead to an instruction of the function, or the object is refused.

What can't be known: a label difference stored as a number (``&&a - &&b``, ``.long 1b - 0b``) that
no indirect branch uses.  Nothing distinguishes it from any other number.

Source: 64-bit ELFv2 ABI, 2.3.4.1 (large code model), 3.6; the traceback table's layout is that of
AIX, sys/debug.h (struct tbtable_short and what follows it), as GCC writes it in rs6000-logue.cc
(rs6000_output_function_epilogue) and LLVM in PPCAsmPrinter.cpp (emitFunctionBodyEnd), and as
OpenSSL's crypto/perlasm has it written by hand.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.relocation import BRANCHES, REL64, TYPES
from nopfix.rewriter.proof import function_prefix
from nopfix.rewriter.proof.analysis import (
    OBJECT,
    RELOCATED_DATA,
    TOC_WORD,
    TRACEBACK_TABLE,
    Analysis,
    Difference,
    IndirectBranch,
    Region,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

    from nopfix.rewriter.object.program import Place, Program
    from nopfix.rewriter.proof import resolve

_DATA_RELOCATIONS = {number: row.data_size for number, row in TYPES.items() if row.data_size}
_IN_INSTRUCTIONS = frozenset(
    number for number, row in TYPES.items() if row.field in ("LI", "BD", "DS", "DX", "prefixed")
)


def _everywhere(section: int) -> bool:
    return True


def analyse(
    program: Program,
    need_proof: Callable[[int], bool] = _everywhere,
    together: Callable[[Mapping[int, Refusal]], Mapping[int, Refusal]] | None = None,
) -> Analysis:
    """Find the data in the code sections of an object and prove every indirect branch.

    Sections of which ``need_proof`` says that they need none keep their bytes: nothing there is
    proved, and no table is looked for.  Where ``together`` is given, so do those in which a proof
    fails: it adds to these sections all that belong to them (`Analysis.unproved`).

    Raises `Refusal` for an indirect branch that can't be proved, and for data that isn't
    understood where that matters.
    """
    go_on = together is not None
    failed: dict[int, Refusal] = {}
    base_relative: Mapping[Place, int] = {}
    targets: dict[int, list[int]] = {}
    branches: list[IndirectBranch] = []
    read_addresses: Mapping[int, Sequence[tuple[int, int]]] = {}
    contents = program.obj.contents
    zeros = {number: _words_of_opcode_0(contents(number)) for number in program.code}
    jumps = {
        number: sorted(indirect_branches(contents(number)) + unusual_returns(contents(number)))
        for number in program.code
    }
    regions, differences = _plain_data(program, zeros)
    if any(jumps.values()):
        found, left = _prove(program, jumps, regions, need_proof, go_on)
        failed.update(found.failed)
        for number in left:
            branches += _unproved(program, number, jumps[number])
        branches += found.branches
        base_relative = found.base_relative
        targets = {number: sorted(own) for number, own in found.targets.items()}
        read_addresses = found.read_addresses
        for number, switch_tables in found.regions.items():
            regions[number] = _merge(regions.get(number, []), switch_tables)
        for number, entries in found.differences.items():
            differences[number] = sorted(differences.get(number, []) + entries)
    for number, places in zeros.items():
        own = regions.get(number, [])
        refusal = _find_unexplained(program, number, places, own) if places else None
        if refusal is not None and need_proof(number):
            if not go_on:
                raise refusal
            failed.setdefault(number, refusal)
    unproved = together(failed) if together is not None and failed else {}
    return Analysis(
        regions, differences, base_relative, targets, branches, read_addresses, unproved
    )


_MANY = 16
"""Indirect branches of a section that may take longer to prove than to find that none has to be."""


def _prove(
    program: Program,
    jumps: Mapping[int, Sequence[int]],
    regions: Mapping[int, Sequence[Region]],
    need_proof: Callable[[int], bool],
    go_on: bool,
) -> tuple[resolve.Found, list[int]]:
    """What was proved of ``jumps``, and the sections that need no proof and were left.

    With ``go_on`` what can't be proved is noted and doesn't keep others from it.

    What belongs together takes longer to find than most proofs take, so that is asked where there
    are many branches, and where one can't be proved.
    """
    from nopfix.rewriter.proof import resolve

    left = [number for number, own in jumps.items() if len(own) > _MANY and not need_proof(number)]
    try:
        return resolve.prove(program, _without(jumps, left), regions), left
    except Refusal:
        left = [number for number, own in jumps.items() if own and not need_proof(number)]
        if not (left or go_on):
            raise
    return resolve.prove(program, _without(jumps, left), regions, go_on), left


def _without(jumps: Mapping[int, Sequence[int]], left: Collection[int]) -> dict[int, Sequence[int]]:
    return {number: own for number, own in jumps.items() if number not in left}


def _plain_data(
    program: Program, zeros: Mapping[int, Sequence[int]]
) -> tuple[dict[int, list[Region]], dict[int, list[Difference]]]:
    """The data that shows itself, and the distances in it, by section.

    ``zeros`` are the offsets of words of opcode 0.
    """
    regions: dict[int, list[Region]] = {}
    differences: dict[int, list[Difference]] = {}
    declared = objects(program)
    hashes = function_prefix.lone_hashes(program)
    for number in program.code:
        own = relocated_data(program, number)
        if zeros[number]:
            tables, offsets = _traceback_tables(program, number, zeros[number], own)
            own += tables
            if offsets:
                differences[number] = offsets
        functions = program.functions_in(number)
        if functions.starts:
            own += function_prefix.type_hashes(bytes(program.obj.contents(number)), functions)
            own += hashes.get(number, ())
        own = _merge(own, declared.get(number, []))
        if own:
            regions[number] = own
    return regions, differences


def _unproved(program: Program, number: int, jumps: Iterable[int]) -> list[IndirectBranch]:
    """The indirect branches of a section that keeps its bytes."""
    functions = program.functions_in(number)
    reason = "nothing is inserted into what belongs together here"
    return [
        IndirectBranch(program.name(number), place, functions.at(place), "not followed", (reason,))
        for place in jumps
    ]


def has_indirect_branches(data: memoryview) -> bool:
    """Whether code has a word that would have to be proved: see the two functions below."""
    return bool(indirect_branches(data) or unusual_returns(data))


def indirect_branches(data: memoryview) -> list[int]:
    """The offsets of words that can be ``bcctr`` or ``bctar`` without link, in ascending order.

    The words' low bytes are searched for, which costs next to nothing where there are none.
    """
    raw = bytes(data)
    found = []
    for low in _JUMPS:
        at = raw.find(low)
        while at >= 0:
            if at & 3 == 0 and raw[at + 3 : at + 4] in _OPCODE_19:
                found.append(at)
            at = raw.find(low, at + 1)
    found.sort()
    return found


def unusual_returns(data: memoryview) -> list[int]:
    """The offsets of ``mtlr`` whose operand isn't plainly the saved return address.

    A compiler may put a jump's target into LR as well as into CTR, and then it looks like a return.
    Plain is: loaded, or moved from LR, by an instruction shortly before, with no branch between.
    """
    raw = bytes(data)
    found = []
    at = raw.find(_MTLR)
    while at >= 0:
        if at & 3 == 0 and raw[at + 2] & 0x1F == 8 and 0x7C <= raw[at + 3] <= 0x7F:
            register = raw[at + 2] >> 5 | (raw[at + 3] & 3) << 3
            if not _is_plain_return(raw, at, register):
                found.append(at)
        at = raw.find(_MTLR, at + 1)
    return found


_MTLR = b"\xa6\x03"
_ENDS_SEARCH = frozenset(
    (
        0,
        instruction.PREFIX,
        instruction.BRANCH_CONDITIONAL,
        instruction.SYSTEM_CALL,
        instruction.BRANCH,
        instruction.BRANCH_REGISTER,
    )
)
"""Primary opcodes behind which the search for a register's load gives up; 0 is no instruction."""
_FAR = 128


def _is_plain_return(raw: bytes, at: int, register: int) -> bool:
    load = instruction.LD << 5 | register
    move = instruction.MFLR | register << 21
    for place in range(at - 4, max(at - _FAR, -4), -4):
        word = int.from_bytes(raw[place : place + 4], "little")
        if word >> 21 == load or word == move:
            return True
        opcode = word >> 26
        if opcode in _ENDS_SEARCH:
            return False
        if word >> 21 & 31 == register or word >> 16 & 31 == register:
            # A store of the register is none of our business; who cares for the rest is slower.
            from nopfix.rewriter.power.semantics import written

            if written(word) >> register & 1:
                return False
    return False


# bcctr and bctar: XO 528 and 560, for each value of BH.
_JUMPS = [bytes((low, 4 | bh << 3)) for low in (0x20, 0x60) for bh in range(4)]
_OPCODE_19 = (b"\x4c", b"\x4d", b"\x4e", b"\x4f")
_OPCODE_0 = bytes(1 if top < 4 else 0 for top in range(256))


def _words_of_opcode_0(data: memoryview) -> list[int]:
    """The offsets of all words whose primary opcode is 0."""
    tops = bytes(data[3::4]).translate(_OPCODE_0)
    found = []
    at = tops.find(1)
    while at >= 0:
        found.append(at << 2)
        at = tops.find(1, at + 1)
    return found


def relocated_data(program: Program, section: int) -> list[Region]:
    """The words of a code section that a relocation makes an address, TOC words among them."""
    found = []
    for one in program.of_types(section, _DATA_RELOCATIONS):
        is_toc = one.type == REL64 and program.obj.symbols.name(one.symbol) == ".TOC."
        name, alignment = (TOC_WORD, 8) if is_toc else (RELOCATED_DATA, 1)
        end = one.place + _DATA_RELOCATIONS[one.type]
        found.append(Region(one.place, end, name, alignment))
    return found


def objects(program: Program) -> dict[int, list[Region]]:
    """The data that symbols declare in code, sorted and disjoint, by section number."""
    symbols = program.obj.symbols
    if elf.STT_OBJECT not in {info & 15 for info in set(symbols.infos)}:
        return {}
    extents: dict[int, list[tuple[int, int]]] = {}
    for section in program.code:
        limit = program.obj.sections[section].size
        for start, index in zip(*program.symbols_in(section), strict=True):
            end = min(start + symbols.sizes[index], limit)
            if symbols.type(index) == elf.STT_OBJECT and start < end:
                extents.setdefault(section, []).append((start, end))
    code = _shown_to_be_code(program) if extents else {}
    found: dict[int, list[Region]] = {}
    for section, own in extents.items():
        shown = sorted(code.get(section, ()))
        behind = 0
        for start, end in own:
            at = bisect_left(shown, start)
            if end > behind and not (at < len(shown) and shown[at] < end):
                found.setdefault(section, []).append(Region(max(start, behind), end, OBJECT, 1))
                behind = end
    return found


def _shown_to_be_code(program: Program) -> dict[int, set[int]]:
    """Places that relocations show to be instructions, or to be branched to, by section."""
    found: dict[int, set[int]] = {}
    for number in program.code:
        shown = {place for place, kind in program.fields_of(number) if kind in _IN_INSTRUCTIONS}
        found.setdefault(number, set()).update(shown)
        for reference in program.references_to_code_from(number):
            if reference.type in BRANCHES:
                found.setdefault(reference.target, set()).add(reference.offset)
    return found


# -- traceback tables --------------------------------------------------------------------------


class Traceback(Record):
    """A traceback table: where it ends, and the offset of its tb_offset field, if it has one."""

    end: int
    tb_offset: int | None


def parse_traceback(data: bytes, start: int) -> Traceback | None:
    """The traceback table whose word of zeros is at offset ``start``, None if there is none.

    Of the flags those are read that announce a field; what nobody writes for ELF isn't taken for
    one.
    """
    if start + 12 > len(data) or data[start : start + 4] != b"\0\0\0\0":
        return None
    version, _, flags, more, _, saved, fixed, floating = data[start + 4 : start + 12]
    if version != 0 or saved & 0xC0:
        return None
    if not _may_be_fields(data[start + 4 : start + 12]):
        return None
    at = start + 12
    if fixed or floating >> 1:
        at += 4  # parminfo
    tb_offset = None
    if flags & 0x20:  # has_tboff
        tb_offset = at
        at += 4
    if more & 0x80:  # int_hndl: hand_mask
        at += 4
    if flags & 0x08:  # has_ctl: a count and as many displacements
        at += 4 + 4 * int.from_bytes(data[at : at + 4], "little")
    if more & 0x40:  # name_present
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    if more & 0x20:  # uses_alloca: the register
        at += 1
    end = at + 3 & ~3
    if end > len(data) or any(data[at:end]):
        return None
    return Traceback(end, tb_offset)


_ASSEMBLER = 12
_MOST_SAVED = 18


def _may_be_fields(fields: bytes) -> bool:
    """Whether eight bytes may be those of a traceback table.

    LLVM leaves a word of zeros behind a tail call, and the two instructions behind that are no
    table.  LLVM's table is all zeros; GCC's has both the offset and the name, or neither, and
    without them no parameters.  What is written by hand says so, and has other flags.
    """
    _, language, flags, more, fpr_saved, gpr_saved, fixed, floating = fields
    if (
        more & ~0x63  # name_present, uses_alloca, saves_cr, saves_lr
        or fpr_saved & 0x7F > _MOST_SAVED  # stores_bc besides
        or gpr_saved > _MOST_SAVED
    ):
        return False
    if language == _ASSEMBLER:
        return True
    optional = bool(flags & 0x20)
    return (
        not flags & ~0x22  # has_tboff, fp_present
        and optional == bool(more & 0x40)
        and (optional or not (more & 0x20 or fixed or floating >> 1))
    )


def _traceback_tables(
    program: Program, section: int, zeros: Sequence[int], relocated: Sequence[Region]
) -> tuple[list[Region], list[Difference]]:
    """The traceback tables of a section: each ends where its function does."""
    data = bytes(program.obj.contents(section))
    own = program.functions_in(section)
    starts = own.starts
    taken = {place for region in relocated for place in range(region.start, region.end, 4)}
    found: list[Region] = []
    differences: list[Difference] = []
    behind = 0
    for zero in zeros:
        if zero < behind or zero in taken or data[zero : zero + 4] != b"\0\0\0\0":
            continue
        table = parse_traceback(data, zero)
        if table is None or not starts:
            continue
        index = bisect_right(starts, zero) - 1
        if index < 0:
            continue
        end = own.ends[index]
        if end <= own.starts[index]:  # hand-written, without .size
            end = own.starts[index + 1] if index + 1 < len(own.starts) else len(data)
        if table.end != end:
            continue
        found.append(Region(zero, table.end, TRACEBACK_TABLE, 4))
        behind = table.end
        if table.tb_offset is not None:
            start = own.starts[index]
            distance = int.from_bytes(data[table.tb_offset : table.tb_offset + 4], "little")
            if distance != zero - start:
                raise Refusal(
                    f"traceback table whose tb_offset is {distance:#x}, not {zero - start:#x}",
                    section=program.name(section),
                    offset=table.tb_offset,
                    function=own.names[index],
                    remedy="compile with -mtraceback=no",
                )
            differences.append(
                Difference(table.tb_offset, 4, zero, "after", start, section),
            )
    return found, differences


# -- what is left ------------------------------------------------------------------------------


def _merge(one: Sequence[Region], two: Sequence[Region]) -> list[Region]:
    """Both lists sorted; regions of ``one`` that lie inside one of ``two`` are dropped."""
    starts = sorted((region.start, region.end) for region in two)
    kept = []
    for region in one:
        index = bisect_right(starts, (region.start, 1 << 64)) - 1
        if index < 0 or region.start >= starts[index][1]:
            kept.append(region)
    return sorted([*kept, *two])


def _find_unexplained(
    program: Program, section: int, places: Sequence[int], regions: Sequence[Region]
) -> Refusal | None:
    """What is to be said of data in ``section`` beside what looks like a branch elsewhere.

    ``places`` are its words of opcode 0, ``regions`` the data that is understood.
    """
    data = [(region.start, region.end) for region in regions]
    words, relocated = program.words(section), program.filling(section)
    checked = -1
    for place in places:
        index = bisect_right(data, (place, 1 << 64)) - 1
        if (index >= 0 and place < data[index][1]) or place < checked:
            continue
        start, end, name = _extent(program, section, place)
        checked = end
        branch = _looks_like_branch(words, (start, end), place, data, relocated)
        if branch is not None:
            return Refusal(
                f"data that isn't understood (at {place:#x}) beside what looks like a branch",
                section=program.name(section),
                offset=branch,
                function=name,
                remedy="keep data that hand-written assembly needs out of code sections, or leave"
                " this code as it is (--leave-unproved)",
            )
    return None


def _extent(program: Program, section: int, place: int) -> tuple[int, int, str | None]:
    """The function that ``place`` lies in, up to the start of the next one."""
    own = program.functions_in(section)
    index = bisect_right(own.starts, place) - 1
    end = program.obj.sections[section].size
    if index + 1 < len(own.starts):
        end = own.starts[index + 1]
    return (0, end, None) if index < 0 else (own.starts[index], end, own.names[index])


def _looks_like_branch(
    words: Sequence[int],
    extent: tuple[int, int],
    place: int,
    data: Sequence[tuple[int, int]],
    relocated: Container[int],
) -> int | None:
    """The first word of ``extent`` that looks like a branch out of the section, or a prefix.

    ``place`` is that of the word that isn't explained: only that one may be a prefix.
    """
    at, end = extent
    size = 4 * len(words)
    while at + 4 <= end:
        index = bisect_left(data, (at + 1, 0)) - 1
        if index >= 0 and at < data[index][1]:
            at = data[index][1] + 3 & ~3
            continue
        word = words[at >> 2]
        if at not in relocated:
            distance = instruction.branch_displacement(word)
            prefixed = instruction.is_prefix(word) and (word >> 24 & 3) in (0, 2)
            leads_out = distance is not None and not 0 <= at + distance < size
            if leads_out or (prefixed and at == place):
                return at
        at += 4
    return None
