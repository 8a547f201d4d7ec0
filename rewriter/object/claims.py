"""Who names a place in code, and what for.

The problem: a no-op behind a call is its slot, and a run of no-ops in front of a label is padding,
unless somebody else has a claim to them: a static key that becomes a branch, a probe that a tracer
puts a trap on, a feature section that the kernel replaces, an entry that is patched.  Nothing in
the code says so.  Who has such a claim names the place in a section of its own, in the symbol table
or in an exception table.

The rule: everything in the object that names code is looked at once, whether it is loaded or not
(the notes of probes aren't), each addend in its own meaning.  Left out is what is understood and
names every other instruction anyway: unwind and debug information.

- What is *named* may be entered or patched there: it is no call's slot and no padding.
- What is *held* is patched as a whole, from a first to a last instruction: no padding either.
- What is named may have to stay *aligned*: XRay writes eight bytes of a sled at once.
- A *return address* is named by tables that are known to hold nothing else: OCaml's frame tables.
  A no-op there is the slot of the call in front of it.
- A *note* is there for tools, which watch or patch what it names: a place, no return address.
- An absolute address in other data that nothing is known of is *unclear* when it names the word
  behind a call: a return address stays with the call and a label moves away from it.  A branch that
  is proved to read the address tells them apart.  The entry of a function is always a label, and so
  is what a variable that is declared in a function holds: GNU C has labels as values, and no way to
  write a return address.

Source: Linux, arch/powerpc/include/asm/feature-fixups.h, code-patching-asm.h (patch_site),
jump_label.h; SystemTap's <sys/sdt.h> (.note.stapsdt); GCC's manual, -fpatchable-function-entry and
"Labels as Values"; LLVM, docs/XRay.rst; OCaml, asmcomp/emitaux.ml (emit_frames); 64-bit ELFv2
ABI, 3.4.1 (local entry points), 3.5.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Literal, Record
from nopfix.rewriter.object import elf
from nopfix.rewriter.power.relocation import BRANCHES, TYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Set

    from nopfix.rewriter.object import kernel_sections
    from nopfix.rewriter.object.program import Place, Program, Reference

    Reason = Place | int | Literal["branch", "exception"]
    """Who names a place: the relocation at a place, the symbol of an index, or what is said."""


class Claims(Record):
    """What names places in one code section; offsets into it, in bytes.

    ``named`` are the places that a symbol, a branch with a relocation, a table or data of any kind
    refers to, each with the first of these; ``held`` all words of what is patched as a whole;
    ``returns`` the return addresses that tables of such name.  ``unclear`` are the places that data
    of unknown meaning holds the address of, each with the place of that data.  ``entries`` are
    where functions are entered, and what other objects may call.  ``aligned`` are the places whose
    patcher needs them aligned, each with how many bytes to.  ``run`` are those of ``named`` that
    code, an exception table, a note or a section of known meaning names: what lies there is run,
    or patched.  ``addressed`` are those on a multiple of 16 whose address code makes, or data of
    unknown meaning holds.
    """

    named: Mapping[int, Reason]
    held: Set[int] = frozenset()
    returns: Set[int] = frozenset()
    unclear: Mapping[int, Place] = {}
    entries: Set[int] = frozenset()
    aligned: Mapping[int, int] = {}
    run: Set[int] = frozenset()
    addressed: Set[int] = frozenset()

    def with_symbols(self, symbols: Mapping[int, int]) -> Claims:
        """The same and the places of ``symbols`` (their indices), which count first."""
        return self._replace(named={**self.named, **symbols})

    def with_entered(self, places: Iterable[int]) -> Claims:
        """The same and the offsets ``places``, which a branch leads to."""
        return self._replace(named={**dict.fromkeys(places, "branch"), **self.named})


NO_CLAIMS = Claims({})


def who(program: Program, reason: Reason) -> str:
    """A reason in the words of a message."""
    if isinstance(reason, str):
        return {"branch": "a branch", "exception": "an exception table"}[reason]
    if isinstance(reason, int):
        return f"symbol {program.obj.symbols.name(reason)}"
    section, place = reason
    return f"{program.name(section)}+{place:#x}"


class Claimants:
    """Who claims places in all code of an object, looked for when somebody first asks."""

    def __init__(self, program: Program, bases: Mapping[Place, int]) -> None:
        """Nothing is looked for yet; ``bases`` are those of `collect`."""
        self._program = program
        self._bases = bases
        self._found: dict[int, Claims] | None = None

    def but_symbols(self) -> Mapping[int, Claims]:
        """By section number, as if a symbol alone named nothing."""
        if self._found is None:
            self._found = _collect(self._program, self._program.code, self._bases)
        return self._found

    def all(self) -> dict[int, Claims]:
        """By section number, symbols included."""
        return _with_symbols(self._program, self.but_symbols())


def collect(
    program: Program, code: Collection[int], bases: Mapping[Place, int]
) -> dict[int, Claims]:
    """Who claims places in the code sections ``code``, by section number.

    ``bases`` are the offsets that base-relative addends count from, by the place of each (those
    that a branch was proved to use; special sections know their own).
    """
    return _with_symbols(program, _collect(program, code, bases))


def _with_symbols(program: Program, found: Mapping[int, Claims]) -> dict[int, Claims]:
    return {
        number: own.with_symbols(dict(zip(*program.symbols_in(number), strict=True)))
        for number, own in found.items()
    }


def _collect(
    program: Program, code: Collection[int], bases: Mapping[Place, int]
) -> dict[int, Claims]:
    """`collect`, as if a symbol alone named nothing."""
    if not code:
        return {}
    from nopfix.rewriter.object import kernel_sections

    found = {
        number: _Sets({}, set(), set(), {}, _entries(program, number), {}, set(), set())
        for number in code
    }
    for site in program.landing_pads():
        if site.pad.section in found:
            found[site.pad.section].named.setdefault(site.pad.offset, "exception")
            found[site.pad.section].run.add(site.pad.offset)
    for number in program.filled:
        if not kernel_sections.is_elsewhere(program.obj.sections[number]):
            known = kernel_sections.describe(program.name(number))
            _add_claims_of(program, number, known, bases, found)
    return {number: Claims(*own) for number, own in found.items()}


class _Sets(Record):
    """The fields of `Claims` while they are being filled."""

    named: dict[int, Reason]
    held: set[int]
    returns: set[int]
    unclear: dict[int, Place]
    entries: set[int]
    aligned: dict[int, int]
    run: set[int]
    addressed: set[int]


def _entries(program: Program, section: int) -> set[int]:
    """Where functions are entered, and what other objects may call."""
    symbols = program.obj.symbols
    entries: set[int] = set()
    for value, index in zip(*program.symbols_in(section), strict=True):
        info = symbols.infos[index]
        if info & 15 in elf.FUNCTIONS or info >> 4 != elf.STB_LOCAL:
            entries.update((value, value + symbols.local_entry(index)))
    return entries


def _add_claims_of(
    program: Program,
    number: int,
    known: kernel_sections.Descriptor | None,
    bases: Mapping[Place, int],
    found: Mapping[int, _Sets],
) -> None:
    """Add to ``found`` what the relocations of section ``number``, which is ``known``, claim."""
    from nopfix.rewriter.object import kernel_sections

    size = known.entry_size if known and known.meaning == "entry" else 0
    is_note = program.obj.sections[number].type == elf.SHT_NOTE
    may_be_unclear = known is None and not is_note and not program.is_code(number)
    is_any_data = known is None or known.name == kernel_sections.TOC
    is_run = not is_any_data or is_note or program.is_code(number)
    fields: dict[Place, Place] = {}
    for reference in program.references_to_code_from(number):
        claims = found.get(reference.target)
        if claims is None:
            continue
        place = reference.place
        base = place - place % size if size else bases.get((number, place), place)
        offset = reference.offset - (place - base)
        claims.named.setdefault(offset, (number, place))
        if is_run:
            claims.run.add(offset)
        if is_any_data and not offset & 15 and reference.type not in BRANCHES:
            claims.addressed.add(offset)
        if known is not None and known.alignment and place % known.entry_size == 0:
            claims.aligned[offset] = known.alignment
        if size:
            fields[base, place - base] = reference.target, offset
        if may_be_unclear and offset not in claims.entries and _is_address(reference):
            _add_address(program, reference, claims)
    if known is not None and fields:
        for section, start, end in _ranges(known, fields):
            limit = min(end, program.obj.sections[section].size)
            found[section].held.update(range(max(start, 0), limit, 4))


def _is_address(reference: Reference) -> bool:
    """Whether a relocation fills data with an absolute address."""
    row = TYPES.get(reference.type)
    return row is not None and row.addend == "target" and row.data_size > 0


def _add_address(program: Program, reference: Reference, claims: _Sets) -> None:
    """Take an address in data of unknown meaning for what its holder's name says."""
    holder = program.holder(reference.section, reference.place)
    name = program.obj.symbols.name(holder) if holder is not None else ""
    if is_frame_table(name):
        claims.returns.add(reference.offset)
    elif not is_declared_in_a_function(name):
        claims.unclear.setdefault(reference.offset, (reference.section, reference.place))


def _ranges(
    known: kernel_sections.Descriptor, fields: Mapping[Place, Place]
) -> Iterator[tuple[int, int, int]]:
    """Section, start and end of each range in ``fields``, which are by entry and field."""
    ends = dict(zip(known.code_fields[::2], known.code_fields[1::2], strict=False))
    for (entry, field), (section, start) in fields.items():
        end = fields.get((entry, ends.get(field, -1)))
        if end is not None and end[0] == section:
            yield section, start, end[1]


def is_declared_in_a_function(name: str) -> bool:
    """Whether a compiler gives this name to a variable that is declared in a function.

    Two functions may have a variable of one name, so it is never the name in the source: GCC adds
    a number to it (``x.0``), clang the function (``f.x``), and both mangle it for C++.
    """
    return "." in name or name.startswith("_ZZ")


def is_frame_table(name: str) -> bool:
    """Whether the symbol ``name`` is a table of return addresses: OCaml's, for its collector."""
    return name.startswith("caml") and name.endswith("frametable")
