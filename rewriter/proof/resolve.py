"""All indirect branches of an object, proved one function at a time.

The problem: what a jump through a table leads to is known only when the table is, and the table is
found by following registers through a graph in which that jump is an edge.

The rule: begin without such edges, prove what can be proved, add the edges, and begin again until
nothing new turns up.  A result that gives no edge which the graph hasn't got holds for every run of
the function, by induction over the jumps of that run.  What is unproved then is refused.

Only functions with an indirect branch are looked at.  A function's fragments are found by following
branches into the middle of others (name.cold, hand-written code).
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.power import instruction, semantics
from nopfix.rewriter.power.instruction import CTR, LR, NO_OPERATIONS
from nopfix.rewriter.proof import control_flow, indirect, switch_table
from nopfix.rewriter.proof.analysis import (
    OR_LEAVE,
    SWITCH_TABLE,
    Difference,
    IndirectBranch,
    Region,
)
from nopfix.rewriter.proof.control_flow import Fragment, Jumps, Roots
from nopfix.rewriter.proof.evidence import LOCAL_ENTRY, Evidence, within
from nopfix.rewriter.proof.indirect import (
    NO_INDEX,
    WALKED,
    Address,
    Distance,
    Entry,
    External,
    Number,
    Pointer,
    Unresolved,
    Values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nopfix.dwarf.offset_map import Side
    from nopfix.rewriter.object.program import Place, Program
    from nopfix.rewriter.proof.switch_table import Table

_REMEDY = f"compile this file with -fno-jump-tables and without computed gotos{OR_LEAVE}"
_LR_REMEDY = f"compile C with -mtune=power9, with which GCC keeps no values in LR{OR_LEAVE}"
_NOT_FOLLOWED = "indirect branch that can't be followed"
_MOST_ROUNDS = 64


class Found(Record):
    """What was proved, in the form of `analysis.Analysis`.

    ``failed`` says by section what couldn't be proved.
    """

    regions: dict[int, list[Region]]
    differences: dict[int, list[Difference]]
    base_relative: dict[tuple[int, int], int]
    targets: dict[int, set[int]]
    branches: list[IndirectBranch]
    read_addresses: dict[int, list[tuple[int, int]]]
    failed: dict[int, Refusal]


class Proof(Record):
    """What one indirect branch was shown to be.

    ``through_memory`` says that the target is an address that was kept in memory, ``stays`` that
    all targets are known, and inside of the function.
    """

    kind: str
    tables: tuple[Table, ...]
    targets: frozenset[Place]
    reasons: tuple[str, ...]
    through_memory: bool
    stays: bool


def prove(
    program: Program,
    jumps: Mapping[int, Sequence[int]],
    regions: Mapping[int, Sequence[Region]],
    go_on: bool = False,
) -> Found:
    """Prove the indirect branches ``jumps`` (offsets by section number).

    ``regions`` are the data known so far.  Raises `Refusal` for the first that can't be proved, or
    with ``go_on`` notes it and proves the other sections.
    """
    evidence = Evidence(program, regions)
    found = Found({}, {}, {}, {}, [], {}, {})
    proofs: dict[Place, Proof] = {}
    for section, offsets in jumps.items():
        try:
            for offset in offsets:
                place = (section, offset)
                if place not in proofs and not evidence.is_data(place):
                    proofs.update(_prove_function(evidence, place, jumps))
        except Refusal as why:
            if not go_on:
                raise
            found.failed[section] = why
    for table in _tables_of(evidence, proofs, found, go_on):
        _record(evidence, table, found)
    return found


def _tables_of(
    evidence: Evidence, proofs: Mapping[Place, Proof], found: Found, go_on: bool
) -> Iterable[Table]:
    """Add ``proofs`` to ``found``; returns the tables that they found, each once."""
    program = evidence.program
    tables: dict[Address, Table] = {}
    users: dict[Address, Place] = {}
    seen: set[frozenset[Place]] = set()
    contradictions: list[tuple[Table, Place, Place]] = []
    for place, proof in sorted(proofs.items()):
        name = evidence.function_name(place)
        section_name = program.name(place[0])
        found.branches.append(
            IndirectBranch(section_name, place[1], name, proof.kind, proof.reasons)
        )
        if proof.through_memory and proof.kind == "computed goto":
            found.read_addresses.setdefault(place[0], []).append(evidence.extent(place))
        new = () if proof.targets in seen else proof.targets
        seen.add(proof.targets)
        for target_section, target in new:
            found.targets.setdefault(target_section, set()).add(target)
        for table in proof.tables:
            known = tables.setdefault(table.address, table)
            other = users.setdefault(table.address, place)
            if _is_part(known, table):
                tables[table.address] = table
            elif not _is_part(table, known):
                contradictions.append((table, place, other))
    contradictions += (
        (table, users[table.address], users[other.address])
        for table, other in _overlapping(evidence, tables.values())
    )
    for table, place, other in contradictions:
        where = f"{program.name(table.address.section)}+{table.address.offset:#x}"
        refusal = _refusal(evidence, place, f"two branches use the table at {where} differently")
        if not go_on:
            raise refusal
        for section in (other[0], place[0]):
            found.failed.setdefault(section, refusal)
    return tables.values()


def _is_part(one: Table, two: Table) -> bool:
    """Whether ``two``, a table at the same place, says the same of all that ``one`` does.

    Who reads the first entry only says nothing of others, and an index may reach fewer of them.
    """
    return (one.base, one.size, one.signed) == (two.base, two.size, two.signed) and (
        one.length == 1 or (one.step == two.step and one.length <= two.length)
    )


def _overlapping(evidence: Evidence, tables: Iterable[Table]) -> Iterator[tuple[Table, Table]]:
    """Tables of plain numbers in data that have bytes in common, and say something else of them."""
    known: dict[Place, tuple[Table, int]] = {}
    for table in tables:
        section = table.address.section
        if table.base is None or table.relocated or evidence.program.is_code(section):
            continue
        for place in table.places:
            for byte in range(place, place + table.size):
                other, start = known.setdefault((section, byte), (table, place))
                if (other.base, other.size, start) != (table.base, table.size, place):
                    yield table, other
                    return


def _record(evidence: Evidence, table: Table, found: Found) -> None:
    """Add what has to be changed because of ``table``."""
    section, start = table.address
    if evidence.program.is_code(section):
        region = Region(start, table.end, SWITCH_TABLE, 8 if table.size == 8 else 4)
        found.regions.setdefault(section, []).append(region)
    if table.base is None:
        return
    differences = []
    for place, target in zip(table.places, table.targets, strict=True):
        if place in table.relocated:
            found.base_relative[section, place] = table.base.offset
        else:
            side: Side = "after" if evidence.is_end(target) else "start"
            differences.append(
                Difference(
                    place, table.size, target[1], side, table.base.offset, target[0], table.signed
                )
            )
    if differences:
        found.differences.setdefault(section, []).extend(differences)


_ANYWHERE = ("computed goto", "tail call")
"""Kinds of branches that may lead to any label whose address is taken."""


class Lost(Unresolved):
    """Nothing is seen to lead to the branch: dead code, or entered in a way that can't be seen."""


# -- one function ----------------------------------------------------------------------------------


def _prove_function(
    evidence: Evidence, place: Place, jumps: Mapping[int, Sequence[int]]
) -> dict[Place, Proof]:
    """Prove every indirect branch of the function around ``place``."""
    extents = _fragments(evidence, place)
    own_jumps = [
        (section, offset)
        for section, start, end in extents
        for offset in within(jumps.get(section, ()), start, end)
        if not evidence.is_data((section, offset))
    ]
    pieces = [_sweep(evidence, extent) for extent in extents]
    try:
        return _settle(evidence, pieces, own_jumps, is_exact=False)
    except Refusal as refusal:
        # Loops that only a table leads to look alive while the table isn't known.
        try:
            return _settle(evidence, pieces, own_jumps, is_exact=True)
        except Refusal:
            raise refusal from None


def _settle(
    evidence: Evidence, pieces: Sequence[Jumps], own_jumps: Sequence[Place], is_exact: bool
) -> dict[Place, Proof]:
    """Prove ``own_jumps`` with the edges that they give, until there are no new ones.

    With ``is_exact`` the graph's blocks are alive only where a way leads there from outside.
    """
    proofs: dict[Place, Proof] = {}
    lost: set[Place] = set()
    complaints: dict[Place, Unresolved] = {}
    earlier: list[tuple[dict[Place, Proof], set[Place]]] = []
    for _ in range(_MOST_ROUNDS):
        graph = _graph(evidence, pieces, own_jumps, proofs, lost)
        if is_exact:
            graph.find_live()
        slices = Values(graph, evidence.facts)
        kept = _KeptInLR(evidence, slices, proofs)
        still_lost = set(lost)
        found: dict[Place, Proof] = {}
        failed: dict[Place, Unresolved] = {}
        for jump in own_jumps:
            try:
                found[jump] = _prove_jump(evidence, slices, kept, jump)
            except Lost as why:
                failed[jump] = why
                block = graph.block_at(jump)
                still_lost.add((block.section, block.start))
            except Unresolved as why:
                failed[jump] = why
        complaints.update(failed)
        if failed and found == proofs and lost == still_lost:
            complaints = failed
            break
        if not failed and _covers(proofs, found):
            if any(proof.through_memory for proof in found.values()) and (
                evidence.has_tables or _has_labels(evidence, pieces)
            ):
                _check_label_arithmetic(evidence, slices, found)
            if any(proof.kind == "computed goto" for proof in found.values()):
                _check_added_numbers(evidence, slices, found)
            _check_doubts(evidence, found)
            _check_readers(evidence, slices, found)
            return found
        if (found, still_lost) in earlier:
            if failed:
                break  # Proved without the edges that it gives, not with them.
            # Too many edges do no harm: take those of both.
            found = {
                at: _both(proofs[at], new) if at in proofs else new for at, new in found.items()
            }
            still_lost |= lost
        earlier.append((found, still_lost))
        proofs, lost = found, still_lost
    for jump, reason in complaints.items():
        raise _refusal(evidence, jump, f"{_NOT_FOLLOWED}: {reason}")
    raise _refusal(evidence, own_jumps[0], "indirect branches whose targets don't settle")


def _has_labels(evidence: Evidence, pieces: Sequence[Jumps]) -> bool:
    fragments = [piece.fragment for piece in pieces]
    return any(evidence.labels(one.section, one.start, one.end) for one in fragments)


def _covers(proofs: Mapping[Place, Proof], found: Mapping[Place, Proof]) -> bool:
    """Whether a graph with the edges of ``proofs`` has all that ``found`` give.

    What was proved in it then holds: every jump leads where the graph has an edge.
    """
    for place, new in found.items():
        old = proofs.get(place)
        if old is None or not _is_within(new.targets, old.targets) or (old.stays and not new.stays):
            return False
        if new.kind in _ANYWHERE and not new.stays and (old.kind not in _ANYWHERE or old.stays):
            return False
    return True


def _is_within(these: frozenset[Place], those: frozenset[Place]) -> bool:
    """Whether ``these`` are all among ``those``; jumps through one table share the same set."""
    return these is those or these <= those


def _both(one: Proof, two: Proof) -> Proof:
    """A proof with the edges of both."""
    kind = next((p.kind for p in (two, one) if p.kind in _ANYWHERE), two.kind)
    through_memory = one.through_memory or two.through_memory
    return two._replace(
        kind=kind,
        targets=one.targets | two.targets,
        through_memory=through_memory,
        stays=one.stays and two.stays,
    )


def _refusal(evidence: Evidence, place: Place, found: str) -> Refusal:
    word = evidence.program.words(place[0])[place[1] >> 2]
    in_lr = instruction.is_mtlr(word) and found.startswith(_NOT_FOLLOWED)
    return Refusal(
        found,
        section=evidence.obj.sections[place[0]].name,
        offset=place[1],
        function=evidence.function_name(place),
        remedy=_LR_REMEDY if in_lr else _REMEDY,
    )


def _check_doubts(evidence: Evidence, proofs: Mapping[Place, Proof]) -> None:
    """Refuse a table of which something isn't known, unless other tables say it.

    Where one jump may read each entry, as far as the code tells, each is a distance, whichever of
    them the others read.  And what lies in front of a row is known where other rows fill it.
    """
    tables = [(jump, table) for jump, proof in proofs.items() for table in proof.tables]
    doubtful = [(jump, table) for jump, table in tables if table.doubt]
    if not doubtful:
        return
    believed = {
        _entry(table, place)
        for _, table in tables
        if table.doubt in ("", switch_table.ENTERED_INSIDE)
        for place in table.places
    }
    for jump, table in doubtful:
        around = evidence.surroundings(table.address)
        first = table.address.offset
        if around.begins_inside:
            first = around.symbol[0] if around.symbol and table.step == table.size else -1
        places = range(first, table.end, table.size)
        if first < 0 or not all(_entry(table, place) in believed for place in places):
            raise _refusal(evidence, jump, f"{_NOT_FOLLOWED}: {table.doubt}")


def _entry(table: Table, place: int) -> tuple[object, ...]:
    """What ``table`` says of its entry at offset ``place``."""
    return table.address.section, place, table.size, table.signed, table.base


def _check_readers(evidence: Evidence, slices: Values, proofs: Mapping[Place, Proof]) -> None:
    """Refuse a function that reads what may be a label difference, and goes nowhere with it."""
    tables = {
        table.address: table
        for proof in proofs.values()
        for table in proof.tables
        if table.base is not None
        and not table.relocated
        and not evidence.program.is_code(table.address.section)
    }
    if not tables:
        return
    from nopfix.rewriter.proof import readers

    uses = {
        (v.entry.table, v.entry.register, None if v.entry.register == NO_INDEX else v.entry.place)
        for jump in proofs
        for v in slices.values(_jumped_through(slices, jump), jump)
        if isinstance(v, Distance)
    }
    place = readers.find(slices, tables.values(), uses)
    if place is not None:
        why = "a number of a table of label differences is read for something else"
        raise _refusal(evidence, place, f"{_NOT_FOLLOWED}: {why}")
    walked = {table for table, register, _ in uses if register == WALKED}
    if not walked:
        return
    leaving = {jump for jump, proof in proofs.items() if not proof.stays}
    place = readers.hands_on(slices, walked, leaving)
    if place is not None:
        why = "the address of an array of label differences is handed on"
        raise _refusal(evidence, place, f"{_NOT_FOLLOWED}: {why}")
    single = {table for table, register, _ in uses if register == NO_INDEX}
    if not _is_certain(evidence, slices, [tables[table] for table in walked], single):
        why = "nothing says which array of label differences a pointer goes through"
        raise _refusal(evidence, next(iter(proofs)), f"{_NOT_FOLLOWED}: {why}")


def _is_certain(
    evidence: Evidence, slices: Values, walked: Sequence[Table], single: Iterable[Address]
) -> bool:
    """Whether pointers go through the arrays ``walked``, and not through what lies in front.

    A pointer to the last entry of an array may never be moved on, though the code does that.  It is
    seen by what it is: a label difference that is read by itself, or that the pointer begins at.
    """
    arrays = {(one.address.section, evidence.array(one.address)) for one in walked}
    if any((one.section, evidence.array(one)) not in arrays for one in single):
        return False
    is_target = _targets(evidence, slices.graph)
    for begin, moved in slices.walks_begin:
        section, offset = begin
        is_inside, goes_in = ((section, evidence.array(one)) in arrays for one in (begin, moved))
        if is_inside or not goes_in:
            continue
        for table in walked:
            field = evidence.obj.contents(section)[max(offset, 0) : max(offset + table.size, 0)]
            number = int.from_bytes(field, "little", signed=True)
            base = table.base
            if base is not None and field and is_target((base.section, base.offset + number)):
                return False
    return True


def _jumped_through(slices: Values, place: Place) -> int:
    """The register whose value the branch or ``mtlr`` at ``place`` goes to."""
    word = slices.words[place[0]][place[1] >> 2]
    return word >> 21 & 31 if instruction.is_mtlr(word) else CTR


def _check_label_arithmetic(
    evidence: Evidence, slices: Values, proofs: Mapping[Place, Proof]
) -> None:
    """Refuse a function that jumps to addresses from memory and makes some by adding to labels.

    What is added to a label is a distance in code, and nothing says where it comes from.
    """
    tables = _based(proofs)
    for place, word in slices.live_words():
        if not instruction.adds_or_subtracts(word):
            continue
        try:
            sound = _keeps_labels(evidence, slices, place, word, tables)
        except Unresolved:
            sound = False
        if not sound:
            raise _refusal(evidence, place, "a distance of unknown origin is added to a label")


def _based(proofs: Mapping[Place, Proof]) -> dict[Address, Table]:
    """The tables of label differences that ``proofs`` found, by their addresses."""
    return {
        table.address: table
        for proof in proofs.values()
        for table in proof.tables
        if table.base is not None
    }


def _check_added_numbers(evidence: Evidence, slices: Values, proofs: Mapping[Place, Proof]) -> None:
    """Refuse a function that adds a number to the address of a label.

    GCC folds ``&&a + 8`` into one address, which says no more what it counts from, and takes the 8
    off again where it wants the label.
    """
    tables = _based(proofs)
    for place, word in slices.live_words():
        if word >> 26 == instruction.ADDI and _adds_to_label(evidence, slices, place, word, tables):
            raise _refusal(evidence, place, "a number is added to the address of a label")


def _adds_to_label(
    evidence: Evidence,
    slices: Values,
    place: Place,
    word: int,
    tables: Mapping[Address, Table],
) -> bool:
    """Whether ``word``, the ``addi`` at ``place``, adds a number to the address of a label."""
    added = semantics.operation(word)
    if added.source in _NO_LABEL or not added.immediate:
        return False
    section, offset = place
    if offset in evidence.program.filling(section):
        return False  # the second half of an address
    try:
        values = slices.values(added.source, place)
    except Unresolved:
        return False
    # What isn't taken by a relocation is the program counter's, and no label of a compiler's.
    return any(
        _is_label(evidence, value, tables)
        and len(evidence.labels(value.section, value.offset, value.offset + 4)) > 0
        for value in values
        if isinstance(value, Address)
    )


_NO_LABEL = frozenset((-1, 1, 2))
"""What ``addi`` adds to that is no label's address: nothing, the stack and the TOC pointer."""


def _keeps_labels(
    evidence: Evidence,
    slices: Values,
    place: Place,
    word: int,
    tables: Mapping[Address, Table],
) -> bool:
    """Whether the add or subtract at ``place`` makes no code address that isn't understood."""
    first, second = (slices.values(word >> at & 31, place) for at in (16, 11))
    if instruction.subtracts(word):  # second - first
        return not any(_is_label(evidence, v, tables) for v in second) or all(
            _is_label(evidence, v, tables) for v in first
        )
    for one, other in ((first, second), (second, first)):
        entries = {v.table for v in other if isinstance(v, Entry)}
        # A table's own address plus an entry of it, as compilers write switches.
        if any(v in entries and v not in tables for v in one):
            return False
        if any(_is_label(evidence, v, tables) for v in one) and not all(
            isinstance(v, Entry) and v.table in tables for v in other
        ):
            return False
    return True


def _is_label(evidence: Evidence, value: indirect.Value, tables: Mapping[Address, Table]) -> bool:
    """Whether ``value`` is the address of code inside a function."""
    return (
        isinstance(value, Address)
        and evidence.program.is_code(value.section)
        and value not in tables
        and evidence.extent((value.section, value.offset))[0] != value.offset
    )


def _fragments(evidence: Evidence, place: Place) -> list[tuple[int, int, int]]:
    """(section, start, end) of the function around ``place`` and of the parts that belong to it."""
    first = (place[0], *evidence.extent(place))
    extents = [first]
    pending = [first]
    while pending:
        section, start, end = extent = pending.pop()
        piece = _sweep(evidence, extent)
        places = [
            target
            for target, _ in piece.ends.values()
            if target is not None and not _is_entry(evidence, target)
        ]
        places += [
            source
            for offset, source in evidence.incoming(section, start, end)
            if not evidence.is_call(source) and not _is_entry(evidence, (section, offset))
        ]
        for other in places:
            if (
                not evidence.program.is_code(other[0])
                or other[1] >= evidence.obj.sections[other[0]].size
            ):
                continue
            new = (other[0], *evidence.extent(other))
            if new not in extents:
                extents.append(new)
                pending.append(new)
    return extents


def _is_entry(evidence: Evidence, target: Place) -> bool:
    """Whether a branch to ``target`` from another function is a tail call."""
    start, _ = evidence.extent(target)
    name = evidence.function_name(target)
    if name is None or ".cold" in name:
        return False
    return target[1] - start <= LOCAL_ENTRY


def _sweep(evidence: Evidence, extent: tuple[int, int, int]) -> Jumps:
    """The branches of a fragment.  Entries of tables don't look like branches."""
    piece = evidence.sweeps.get(extent)
    if piece is None:
        section, start, end = extent
        words = evidence.program.words(section)
        last = (section, 4 * len(words) - 4)
        if words and instruction.is_prefix(words[-1]) and not evidence.is_data(last):
            # Whoever looks at a prefix may look at the word behind it, too.
            found = "a prefixed instruction that is cut off by the end of its section"
            raise _refusal(evidence, last, found)
        fragment = Fragment(
            section,
            start,
            end,
            evidence.program.words(section),
            evidence.data.get(section, []),
            evidence.program.filling(section),
            lambda offset: evidence.branch_target((section, offset)),
            evidence.final_calls(section),
        )
        piece = evidence.sweeps[extent] = control_flow.find_jumps(fragment)
    return piece


def _graph(
    evidence: Evidence,
    pieces: Sequence[Jumps],
    own_jumps: Sequence[Place],
    proofs: Mapping[Place, Proof],
    lost: Iterable[Place],
) -> control_flow.Graph:
    entries = []
    called: list[Place] = []
    anywhere: list[Place] = [*lost]
    labels: list[Place] = []
    extents = [
        (piece.fragment.section, piece.fragment.start, piece.fragment.end) for piece in pieces
    ]
    for piece, (section, start, end) in zip(pieces, extents, strict=True):
        fragment = piece.fragment
        name = evidence.function_name((section, start))
        is_part = name is not None and ".cold" in name
        # What no function's name stands for may begin with data.
        if not is_part and (name or _may_be_code(evidence, (section, start), fragment)):
            entries.append((section, start))
        # Whoever has a function's address calls it: its entry is no label.
        first = start + 4 * (entries[-1:] == [(section, start)])
        own = {
            *evidence.labels(section, first, end),
            *(at for _, at in piece.labels if at >= first),
            *evidence.addressed(section, first, end),
        }
        special = evidence.special_labels(section, first, end)
        entries += [
            (section, at)
            for at in evidence.symbols(section, start, end)
            if at > start and _may_be_code(evidence, (section, at), fragment)
        ]
        called += _called_inside(evidence, fragment)
        labels += [(section, at) for at in own if _may_be_code(evidence, (section, at), fragment)]
        anywhere += [
            (section, at) for at in special if _may_be_code(evidence, (section, at), fragment)
        ]
    patched, pads = _kernels_edges(evidence, pieces, anywhere)
    tables = {at: proof.targets for at, proof in proofs.items()}
    # A proved switch goes where its table says.  That r12 holds a tail call's target is a rule of
    # the ABI; that a computed goto's target isn't in r12 is no rule.
    wild = [at for at in own_jumps if _is_wild(evidence, at, proofs.get(at))]
    roots = Roots(
        frozenset(entries + called),
        frozenset(anywhere),
        frozenset(labels),
        wild,
        pads,
        bool(called),
    )
    return control_flow.Graph(pieces, roots, tables, patched)


def _called_inside(evidence: Evidence, fragment: Fragment) -> Iterator[Place]:
    """Where another function calls a fragment, or another object may, but for its start."""
    section, start, end = fragment.section, fragment.start, fragment.end
    for at in evidence.exported(section, start + 4, end):
        if _may_be_code(evidence, (section, at), fragment):
            yield section, at
    for at, source in evidence.incoming(section, start, end):
        if evidence.is_call(source) and at - start > LOCAL_ENTRY:
            yield section, at


def _kernels_edges(
    evidence: Evidence, pieces: Sequence[Jumps], anywhere: list[Place]
) -> tuple[Mapping[Place, Place], Mapping[Place, Sequence[Place]]]:
    """Jump labels and where they lead; landing pads and fix-ups with what they are entered from.

    What of these may be entered from any instruction is added to ``anywhere``.
    """
    patched = {}
    pads: dict[Place, list[Place]] = {}
    for piece in pieces:
        section, start, end = piece.fragment.section, piece.fragment.start, piece.fragment.end
        for offset, target in evidence.jump_labels_from(section, start, end):
            patched[section, offset] = target
        for offset, source in evidence.jump_labels_to(section, start, end):
            if not any(piece.fragment.holds(source) for piece in pieces):
                anywhere.append((section, offset))
        for offset, calls in evidence.landing_pads(section, start, end):
            pads.setdefault((section, offset), []).extend(calls)
            if not calls:
                anywhere.append((section, offset))
        for offset, source in evidence.exceptions_to(section, start, end):
            if any(piece.fragment.holds(source) for piece in pieces) and _is_all_or_nothing(
                evidence.program.words(source[0])[source[1] >> 2]
            ):
                pads.setdefault((section, offset), []).append(source)
            else:
                anywhere.append((section, offset))
    return patched, pads


def _is_all_or_nothing(word: int) -> bool:
    """Whether an instruction that faults leaves all registers as they were.

    One that loads several may have loaded some.
    """
    written = semantics.written(word)
    return written & written - 1 == 0


def _is_wild(evidence: Evidence, place: Place, proof: Proof | None) -> bool:
    """Whether a jump may lead to any label; an ``mtlr`` is none, whatever it puts into LR."""
    if proof is None:
        return not instruction.is_mtlr(evidence.program.words(place[0])[place[1] >> 2])
    return proof.kind in _ANYWHERE and not proof.stays


def _may_be_code(evidence: Evidence, place: Place, fragment: Fragment) -> bool:
    """False for labels of data: known data, or a word that is a small number."""
    offset = place[1]
    if offset & 3 or not fragment.start <= offset < fragment.end or evidence.is_data(place):
        return False
    index = bisect_right(fragment.data, (offset, 1 << 64)) - 1
    if index >= 0 and offset < fragment.data[index][1]:
        return False
    word = fragment.words[offset >> 2]
    return word in NO_OPERATIONS or control_flow.looks_like_code(word)


def _prove_jump(evidence: Evidence, slices: Values, kept: _KeptInLR, place: Place) -> Proof:
    word = slices.words[place[0]][place[1] >> 2]
    if instruction.is_mtlr(word):
        try:
            return _prove_target(evidence, slices, place, word >> 21 & 31)
        except Lost:
            raise
        except Unresolved:
            if not kept.is_only_kept(place):
                raise
        reason = "the value is only kept in LR: no return and no way out of the function sees it"
        return Proof("spill", (), frozenset(), (reason,), False, False)
    if instruction.extended_opcode(word) != instruction.BCCTR:
        raise Unresolved("it goes through TAR")
    return _prove_target(evidence, slices, place, CTR)


class _KeptInLR:
    """Which values that ``mtlr`` puts into LR are gone before anything goes where LR says.

    Under register pressure GCC keeps a value of any kind in LR.  What sees it is a return or a call
    through LR, and every way out of the function; a jump of which it's proved that it stays in the
    function (``proofs``) is an edge and no way out.
    """

    def __init__(self, evidence: Evidence, slices: Values, proofs: Mapping[Place, Proof]) -> None:
        self._evidence = evidence
        self._slices = slices
        self._staying = {place for place, proof in proofs.items() if proof.stays}
        self._seen: set[Place] | None = None

    def is_only_kept(self, place: Place) -> bool:
        """Whether nothing sees what the ``mtlr`` at ``place`` writes."""
        if self._seen is None:
            graph = self._slices.graph
            users = [
                user
                for user in graph.uses_of_lr(self._staying)
                if not graph.is_dead(graph.block_at(user)) and not self._evidence.restores_lr(user)
            ]
            seen = self._slices.reaching.reaching_any(LR, users)
            self._seen = {found.place for found in seen if found.place is not None}.union(users)
        return place not in self._seen


def _prove_target(evidence: Evidence, slices: Values, place: Place, register: int) -> Proof:
    values = slices.values(register, place)
    if not values:
        raise Lost("nothing is seen to lead to it")
    tables: list[Table] = []
    found: list[frozenset[Place]] = []
    reasons: list[str] = []
    for value in sorted(values, key=repr) if len(values) > 1 else values:
        _prove_value(evidence, slices, value, tables, found, reasons)
    targets = found[0] if len(found) == 1 else frozenset().union(*found)
    kind = "return" if register != CTR and not targets else _kind(slices, place, tables)
    pointers = kind in _ANYWHERE and any(isinstance(v, (Pointer, Entry)) for v in values)
    stays = _stays(slices.graph, values, tables, targets)
    return Proof(kind, tuple(tables), targets, tuple(reasons), pointers, stays)


def _stays(
    graph: control_flow.Graph,
    values: indirect.Alternatives,
    tables: Sequence[Table],
    targets: frozenset[Place],
) -> bool:
    """Whether a jump through ``values`` leads to ``targets``, inside of the function, only.

    One to its entry is a call.
    """
    known = {table.address for table in tables}
    return all(
        isinstance(v, (Address, Distance)) or (isinstance(v, Entry) and v.table in known)
        for v in values
    ) and graph.are_inside(targets)


def _kind(slices: Values, place: Place, tables: Sequence[Table]) -> str:
    if any(t.base == t.address or t.address.section in slices.words for t in tables):
        return "switch"
    held = slices.values(12, place)
    if held and held == slices.values(CTR, place):
        return "tail call"
    return "computed goto"


def _prove_value(
    evidence: Evidence,
    slices: Values,
    value: indirect.Value,
    tables: list[Table],
    targets: list[frozenset[Place]],
    reasons: list[str],
) -> None:
    if isinstance(value, Distance):
        section = evidence.obj.sections[value.entry.table.section].name
        table = switch_table.relative(
            value.entry,
            value.base,
            evidence.surroundings(value.entry.table),
            slices.graph,
            _targets(evidence, slices.graph),
            slices,
        )
        tables.append(table)
        targets.append(table.leads_to)
        kind = "distances" if table.base == table.address else "label differences"
        reasons.append(f"a table of {kind} at {section}+{table.address.offset:#x}: {table.reason}")
    elif isinstance(value, Entry) and value.size == 8 and not evidence.holds(value.table):
        reasons.append("a pointer from memory near a variable")
    elif isinstance(value, Entry) and value.size == 8:
        section = evidence.obj.sections[value.table.section].name
        use = value.table, value.register != NO_INDEX
        if use not in evidence.addresses:
            around = evidence.surroundings(value.table)
            evidence.addresses[use] = switch_table.absolute(value.table, around, use[1])
        found = evidence.addresses[use]
        if found is None or not evidence.is_constant(value.table.section):
            reasons.append(f"a pointer from {section}+{value.table.offset:#x}")
        else:
            tables.append(found)
            targets.append(found.leads_to)
            reasons.append(
                f"a table of addresses at {section}+{value.table.offset:#x}: {found.reason}"
            )
    elif isinstance(value, Address) and evidence.program.is_code(value.section):
        targets.append(frozenset(((value.section, value.offset),)))
        section = evidence.obj.sections[value.section].name
        reasons.append(f"the address {section}+{value.offset:#x}")
    elif isinstance(value, Number):
        reasons.append(f"the number {value.number:#x}, which is no address of this object")
    elif isinstance(value, External):
        reasons.append(f"the address of {value.name}")
    elif isinstance(value, Pointer):
        reasons.append(f"a pointer from {value.source} at {value.place[1]:#x}")
    else:
        raise Unresolved(_describe(evidence, value))


def _targets(evidence: Evidence, graph: control_flow.Graph) -> Callable[[Place], bool]:
    """Tells whether a case may begin at a place: an instruction of the function, or its end.

    An empty case that is never reached (__builtin_unreachable) may lie behind the last instruction.
    """
    extents = {f.section: (f.start, f.end) for f in graph.fragments}
    several = len(extents) < len(graph.fragments)
    data = evidence.data

    def is_target(place: Place) -> bool:
        section, offset = place
        if offset & 3:
            return False
        start, end = extents.get(section, (0, 0))
        if graph.fragment_at(place) is None if several else not start <= offset < end:
            return evidence.is_end(place) and graph.fragment_at((section, offset - 4)) is not None
        return section not in data or not evidence.is_data(place) or evidence.is_end(place)

    return is_target


def _describe(evidence: Evidence, value: indirect.Value) -> str:
    if isinstance(value, Entry):
        name = evidence.obj.sections[value.table.section].name
        return f"the target is {value.size} bytes from {name}+{value.table.offset:#x} as they are"
    if isinstance(value, indirect.Indexed):
        name = evidence.obj.sections[value.base.section].name
        index = f"r{value.register}" if value.register >= 0 else "what isn't known"
        return f"the target is {name}+{value.base.offset:#x} plus {index}"
    if isinstance(value, indirect.Between):
        return "the target is the distance of two places"
    if isinstance(value, indirect.Nothing):
        return f"the target is what r{value.register} held on entry"
    if isinstance(value, indirect.Opaque):
        if value.place[0] < 0:
            return "the target comes from many places, in ways that aren't known"
        return f"the target is computed at {value.place[1]:#x} in a way that isn't known"
    if isinstance(value, Address):
        name = evidence.obj.sections[value.section].name
        return f"the target is {name}+{value.offset:#x}, where there is no code"
    raise AssertionError(value)  # all others are targets
