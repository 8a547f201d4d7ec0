"""Tables that jumps go through: where one ends, and what its entries are.

The problem: `indirect` says where a table begins and what its entries are added to; nothing in the
object says how many there are.  One too few and a case jumps into the wrong code, one too many and
an instruction is taken for a number.

The rule: the number is found twice, from the table's words (the extent) and from the comparison or
mask that keeps the index inside (the bound), and the two have to agree.

- In code the extent is certain: the words go on until one is no distance to an instruction of the
  function, or until a label that something jumps to or refers to.  A bound that is larger only says
  that the compiler knew more than the comparison.  One that is smaller leaves entries that are
  never read: GCC may prove late that a case can't be reached, and keeps the entry.  They are
  distances all the same, if they can't be instructions; otherwise the two contradict.
- In data with relocations the extent may run on into the next table, so it ends where anything
  refers to, or where the relocations do.  A bound that is smaller contradicts; one that is larger,
  that of a byte for example, only says that the other cases can't happen.
- In data without relocations (numbers that the assembler resolved) either there is a bound, or the
  extent fills all of the space up to the next thing that anything refers to, or the symbol that the
  table belongs to says how large it is.  A pointer into the middle of a symbol says nothing of what
  lies in front of it.

Source: GCC, final.c (shorten_branches, ADDR_DIFF_VEC) and rs6000.h (CASE_VECTOR_MODE); LLVM,
MachineJumpTableInfo (EK_LabelDifference32).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import semantics
from nopfix.rewriter.power.instruction import BRANCH_CONDITIONAL, PADDING
from nopfix.rewriter.proof import steps
from nopfix.rewriter.proof.control_flow import looks_like_code
from nopfix.rewriter.proof.indirect import NO_INDEX, WALKED, Address, Unresolved, Values
from nopfix.rewriter.proof.reaching import Join, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nopfix.rewriter.object.program import Place
    from nopfix.rewriter.proof.control_flow import Block, Graph
    from nopfix.rewriter.proof.indirect import Entry
    from nopfix.rewriter.proof.reaching import Cell


class Table(Record):
    """A table of ``length`` entries of ``size`` bytes each, sign-extended if ``signed``.

    From one entry to the next it's ``step`` bytes; what lies in between is somebody else's.
    ``doubt`` says what isn't known of its entries, or of what lies in front of them: the table is
    believed where another use of it leaves no doubt.
    ``base`` is what its entries are distances from, None where they are addresses.  ``targets``
    are where they lead, in order, and ``leads_to`` the same, each once; ``relocated`` the offsets
    of those entries that carry a relocation.  ``reason`` says how the number of entries was found.
    """

    address: Address
    size: int
    signed: bool
    length: int
    base: Address | None
    targets: tuple[Place, ...]
    leads_to: frozenset[Place]
    relocated: frozenset[int]
    reason: str
    step: int
    doubt: str = ""

    @property
    def places(self) -> range:
        """The offsets of the entries."""
        start = self.address.offset
        return range(start, start + self.step * self.length, self.step)

    @property
    def end(self) -> int:
        """The offset behind the last entry."""
        return self.places[-1] + self.size


class Surroundings(Record):
    """What has to be known of the section that a table lies in.

    ``data`` are its bytes; ``relative`` gives for the place of a REL32 relocation what symbol +
    addend are, ``absolute`` the same for ADDR64; ``limit`` is the first offset behind the table's
    start that something refers to, or the section's size; ``extent`` the size in bytes of the data
    symbol that the table begins, 0 if there is none; ``begins_inside`` says that it begins in the
    middle of one; ``symbol`` are start and end of the one that it lies in, if there is just one;
    ``is_named`` says that a symbol of any kind begins with it, or that it lies in one;
    ``is_code`` and ``is_writable`` describe the section.
    """

    data: memoryview
    relative: Mapping[int, Place | None]
    absolute: Mapping[int, Place | None]
    limit: int
    extent: int
    begins_inside: bool
    symbol: tuple[int, int] | None
    is_named: bool
    is_code: bool
    is_writable: bool


def relative(
    entry: Entry,
    base: Address,
    around: Surroundings,
    graph: Graph,
    is_target: Callable[[Place], bool],
    slices: Values,
) -> Table:
    """The table of distances that ``entry`` is loaded from, each to be added to ``base``.

    ``is_target`` tells whether an instruction of the function, or its end, is at a place.

    Raises `Unresolved` when its size can't be proved.
    """
    address, size = entry.table, entry.size
    if size != 4 and address == base:
        raise Unresolved(f"a table of {size}-byte distances")
    is_plain = not around.is_code and address.offset not in around.relative
    known, doubt = _plain_step(entry, base, around, slices) if is_plain else (size, "")
    step = known or size
    bounds = index_bounds(slices, entry, step)
    use = (address, size, entry.signed, base, step, min(entry.register, 0))
    if use not in slices.distances:
        slices.distances[use] = _distances(entry, base, around, graph, is_target, step)
    targets, relocated = slices.distances[use]
    if around.is_code:
        if base != address:
            raise Unresolved("a table in code whose entries are distances from somewhere else")
        count = len(targets)
        reason = _in_code(_words(around.data, entry, count), bounds)
    else:
        try:
            count, reason = _in_data(entry, targets, relocated, bounds, around, step)
        except Unresolved:
            if not _fills_up(entry, base, around, is_target, min(bounds, default=0), len(targets)):
                if doubt:
                    raise Unresolved(doubt) from None
                raise
            count, reason = len(targets), f"{_FILLING} (its index allows {min(bounds)})"
        if known is None and not (
            _is_of_a_switch(base, around, slices, reason) or _reaches_all(slices, entry, count)
        ):
            doubt = _IN_BETWEEN
    made = (*use, count, reason, doubt)
    if made not in slices.tables:
        kept = tuple(targets[:count])
        slices.tables[made] = Table(
            address,
            size,
            _is_signed(entry),
            count,
            base,
            kept,
            frozenset(kept),
            frozenset(relocated),
            f"{count} entries{reason}",
            step,
            doubt,
        )
    return slices.tables[made]


ENTERED_INSIDE = "a table of label differences that is entered in its middle"
_FILLING = ", all up to what follows"
_IN_BETWEEN = "a table of label differences with other things in between"
_AS_ALLOWED = ", as its index allows"


def _reaches_all(slices: Values, entry: Entry, count: int) -> bool:
    """Whether each of ``count`` entries is read; few objects need what finds that out."""
    from nopfix.rewriter.proof import trials

    return trials.reaches_all(slices, entry, count)


def _words(data: memoryview, entry: Entry, count: int) -> list[int]:
    """The first ``count`` entries of a table as they are, unsigned."""
    size, start = entry.size, entry.table.offset
    places = range(start, start + size * count, size)
    return [int.from_bytes(data[at : at + size], "little") for at in places]


def _in_code(words: Sequence[int], bounds: Sequence[int]) -> str:
    """What the bounds say of a table in code with the entries ``words``."""
    extent = len(words)
    if not extent:
        raise Unresolved("its table's first word is no distance to an instruction")
    if extent in bounds:
        return _AS_ALLOWED
    if bounds and any(map(looks_like_code, words[min(bounds) :])):
        raise Unresolved(f"its table has {extent} entries but its index stays below {min(bounds)}")
    return " up to a label" if not bounds else f" up to a label (its index allows {min(bounds)})"


def _in_data(
    entry: Entry,
    targets: Sequence[Place],
    relocated: Sequence[int],
    bounds: Sequence[int],
    around: Surroundings,
    step: int,
) -> tuple[int, str]:
    """How many of ``targets`` belong to a table in data, and why.

    A bound holds on every path, so entries beyond the smallest are never read; the largest one
    that the extent has room for covers the most of the table.
    """
    extent = len(targets)
    fitting = [bound for bound in bounds if bound <= extent]
    if fitting and relocated and extent not in bounds:
        raise Unresolved(f"its table has {extent} entries but its index stays below {max(fitting)}")
    if fitting:
        return max(fitting), _AS_ALLOWED
    if extent and extent == len(relocated):
        allowed = f" (its index allows {min(bounds)})" if bounds else ""
        return extent, f" up to what follows{allowed}"
    if extent and entry.register == NO_INDEX and not relocated:
        return extent, ", the only one that is read"
    if extent and extent == _room(entry, around, step):
        return extent, ", all of its symbol"
    if bounds:
        raise Unresolved(f"its index allows {min(bounds)} entries but its table has {extent}")
    if step == entry.size and entry.table.offset + extent * step == around.limit:
        return extent, _FILLING
    raise Unresolved("nothing says where its table of plain numbers ends")


def _fills_up(
    entry: Entry,
    base: Address,
    around: Surroundings,
    is_target: Callable[[Place], bool],
    bound: int,
    extent: int,
) -> bool:
    """Whether the ``extent`` entries of a table are all up to what follows, whatever its index.

    An index that is a byte allows 256, and the program knows more.  But where what follows looks
    like entries up to ``bound``, it may be the middle of the table that something refers to.
    """
    start, size = entry.table.offset, entry.size
    end = start + extent * size
    if not extent or extent >= bound or bound - 1 not in _LOAD_LIMITS.values():
        return False
    if end not in (around.limit, (around.symbol or (0, 0))[1]):
        return False
    for at in range(end, start + bound * size, size):
        target = _target(entry, base, around, at) if at + size <= len(around.data) else None
        if target is None or not is_target(target):
            return True
    return False


def _is_signed(entry: Entry) -> bool:
    """Whether a number that is added to an address may be negative."""
    return entry.signed or entry.size == 8


def _room(entry: Entry, around: Surroundings, step: int) -> int:
    """How many entries the table's symbol has room for; 0 where it needn't be filled with them."""
    if step == entry.size:
        return 0 if around.extent % step else around.extent // step
    if around.symbol is None:
        return 0
    start, end = around.symbol
    if entry.table.offset - start + entry.size > step or (end - start) % step:
        return 0
    return (end - start) // step


def _plain_step(
    entry: Entry, base: Address, around: Surroundings, slices: Values
) -> tuple[int | None, str]:
    """Every how many bytes there is an entry, among numbers in data that no relocation marks.

    Only what can't be anything else is taken.  None where that depends on which are reached.  And
    what isn't known of the table (`Table.doubt`).
    """
    if base.section == entry.table.section:
        raise Unresolved("a table of numbers in data, relative to data")
    if around.is_writable:
        raise Unresolved("a table of label differences that the program may change")
    if slices.doubtful & {base, entry.table} and (around.extent or not _is_own(base, slices)):
        raise Unresolved("label differences by an address that a function called may have changed")
    if entry.register == NO_INDEX:
        return entry.size, ""
    step = entry.step or steps.steps(slices, entry.register, entry.place)
    if step is not None and step < entry.size:
        raise Unresolved(_IN_BETWEEN)
    if around.begins_inside and not (
        step is not None and step > entry.size and _room(entry, around, step)
    ):
        return step, ENTERED_INSIDE
    return step, ""


def _is_of_a_switch(base: Address, around: Surroundings, slices: Values, reason: str) -> bool:
    """Whether a table of plain numbers in data is one that the compiler made for a switch.

    Such a table has nothing in between, however the program computes what it switches by.  It has
    no symbol, nor has what its entries are added to: clang with ``-mcmodel=large`` takes the
    address that the code reads of itself.  A program's own table lies in a symbol, and its labels
    are named.  The index, in entries, is limited right in front of the jump.
    """
    return reason == _AS_ALLOWED and not around.is_named and _is_own(base, slices)


def _is_own(base: Address, slices: Values) -> bool:
    """Whether ``base`` is where the code read its own address, which no program can name."""
    words = slices.words.get(base.section, ())
    index = (base.offset >> 2) - 1
    return 0 <= index < len(words) and semantics.reads_address(words[index])


def _distances(
    entry: Entry,
    base: Address,
    around: Surroundings,
    graph: Graph,
    is_target: Callable[[Place], bool],
    step: int,
) -> tuple[list[Place], list[int]]:
    """The targets of the entries from the table's start on, and the offsets of relocated ones."""
    section, start = entry.table
    size = entry.size
    targets: list[Place] = []
    own: set[int] = set()
    relocated: list[int] = []
    limit = min(around.limit, start + around.extent) if around.extent else around.limit
    if around.symbol is not None and (step > size or entry.register == WALKED):
        # What something refers to before may lie in between, or is where a pointer begins.
        limit = around.symbol[1]
    if entry.register == NO_INDEX and not around.is_code and start not in around.relative:
        limit = start + size
    at = start
    while at + size <= limit:
        if around.is_code and at != start and (at in own or (section, at) in graph.targets):
            break
        target = _target(entry, base, around, at)
        if target is None or not is_target(target):
            break
        if target[0] == section and start <= target[1] < at + size:
            break
        if target[0] == section:
            own.add(target[1])
        if at in around.relative:
            relocated.append(at)
        targets.append(target)
        at += step
    if at in around.relative and at + size <= limit and (around.is_code or relocated):
        raise Unresolved(
            f"its table's entry {len(targets)} leads to no instruction of the function"
        )
    if around.is_code and _is_no_code(around.data, at):
        raise Unresolved(f"its table has {len(targets)} entries, and what follows is no code")
    return targets, relocated


def _is_no_code(data: memoryview, at: int) -> bool:
    word = int.from_bytes(data[at : at + 4], "little")
    return at + 4 <= len(data) and word not in PADDING and not looks_like_code(word)


def _target(entry: Entry, base: Address, around: Surroundings, at: int) -> Place | None:
    """Where the entry at offset ``at`` leads, None if it can't be one."""
    section = entry.table.section
    if at in around.relative:
        marked = around.relative[at]
        if marked is None or base.section != section:
            return None
        return marked[0], marked[1] - (at - base.offset)
    if at in around.absolute:
        return None
    field = around.data[at : at + entry.size]
    number = int.from_bytes(field, "little", signed=_is_signed(entry))
    return base.section, base.offset + number


def absolute(address: Address, around: Surroundings, is_indexed: bool) -> Table | None:
    """The table of addresses at ``address``, None where there isn't one.

    What is loaded from there without an index is the first one.  With an index the address needn't
    be where the table begins: compilers make ``t[i - 1]`` of what lies in front of ``t``.  So where
    that is the last that another symbol has, the table goes on behind it.

    In code that would be a contradiction, and `Unresolved` is raised.
    """
    start = address.offset
    places = around.absolute
    at = start
    targets = []
    goes_on = around.is_code or around.begins_inside or around.extent == 8
    limit = len(around.data) if goes_on else around.limit
    while at in places and at < (limit if is_indexed else start + 8):
        target = places[at]
        if target is not None:
            targets.append(target)
        at += 8
    count = (at - start) // 8
    if not count:
        if around.is_code:
            raise Unresolved("eight bytes of code that aren't relocated are jumped through")
        return None
    return Table(
        address,
        8,
        False,
        count,
        None,
        tuple(targets),
        frozenset(targets),
        frozenset(range(start, at, 8)),
        f"{count} relocated addresses",
        8,
    )


# -- how large an index may become -------------------------------------------------------------


def index_bounds(slices: Values, entry: Entry, step: int) -> list[int]:
    """How many entries the index of ``entry`` can reach: everything that limits it on all paths.

    There is one every ``step`` bytes.
    """
    if entry.register < 0:
        return []
    if step == 1:
        largest = _Bounds(slices).largest(entry.register, entry.place, _COMPARED_BITS)
        return [value + 1 for value in largest]
    operation = _single_operation(slices, entry.register, entry.place)
    if operation is None or operation.kind not in ("scale", "multiply"):
        return []
    bounds = []
    if operation.limit >= 0:
        bounds.append(operation.limit // step + 1)
    is_product = operation.kind == "multiply"
    if step == (operation.immediate if is_product else 1 << operation.immediate):
        place = _single_place(slices, entry.register, entry.place)
        if place is not None:
            bits = _COMPARED_BITS
            if operation.limit >= 0:
                bits = (operation.limit >> operation.immediate).bit_length()
            largest = _Bounds(slices).largest(operation.source, place, bits)
            bounds += [value + 1 for value in largest]
    return bounds


def _single_place(slices: Values, register: int, place: Place) -> Place | None:
    definition = slices.reaching.single(register, place)
    return None if definition is None else definition.place


def _single_operation(slices: Values, register: int, place: Place) -> semantics.Operation | None:
    """The one unprefixed instruction that gives ``register`` its value, copies seen through."""
    for _ in range(_LONGEST_CHAIN):
        found = _single_place(slices, register, place)
        if found is None:
            return None
        operation = semantics.operation(slices.words[found[0]][found[1] >> 2])
        if operation.kind != "copy":
            return operation
        register, place = operation.source, found
    return None


_COMPARED_BITS = 32
"""Comparisons of words are looked for: the upper half of an index is nothing, or its sign."""
_LONGEST_CHAIN = 16
_MOST_QUESTIONS = 24
_LOAD_LIMITS = {1: 0xFF, 2: 0xFFFF}


class _Bounds:
    """Finds the comparison that keeps a register small, on all paths that lead to its use."""

    def __init__(self, slices: Values) -> None:
        self.slices = slices
        self.graph = slices.graph
        self._asked = 0
        self._active: set[tuple[int, Block, Block]] = set()

    def largest(self, register: int, place: Place, bits: int) -> list[int]:
        """Numbers that the low ``bits`` bits of ``register`` don't exceed at ``place``."""
        guarded = self._guard(register, place, bits)
        found = [] if guarded is None else [guarded]
        source = _single_place(self.slices, register, place)
        return found if source is None else found + self._made_at_most(source, bits)

    def _made_at_most(self, source: Place, bits: int) -> list[int]:
        """Numbers that what the instruction at ``source`` computes doesn't exceed."""
        operation = semantics.operation(self.slices.words[source[0]][source[1] >> 2])
        if not self._may_ask():
            return []
        found = []
        if operation.kind == "load":
            if operation.size in _LOAD_LIMITS and not operation.signed:
                found.append(_LOAD_LIMITS[operation.size])
            slot = self._stored(operation, source)
            return found if slot is None else found + self.largest(*slot, bits)
        if operation.limit >= 0:
            found.append(operation.limit)
            bits = min(bits, operation.limit.bit_length())
        elif operation.kind == "extend" and not operation.signed and operation.size < 32:
            found.append((1 << operation.size) - 1)
            bits = min(bits, operation.size)
        follows = operation.kind in ("copy", "extend", "scale") and operation.source >= 0
        if follows and not operation.immediate:
            found += self.largest(operation.source, source, bits)
        return found

    def _at_end(self, register: int, block: Block, bits: int) -> list[int]:
        """Numbers that ``register`` doesn't exceed behind the last instruction of ``block``."""
        last = self.slices.reaching.last_write(register, block, block.end)
        place = (block.section, block.end - 4)
        if last == place[1]:
            return self._made_at_most(place, bits)
        return self.largest(register, place, bits)

    def _may_ask(self) -> bool:
        self._asked += 1
        return self._asked <= _MOST_QUESTIONS

    def _stored(self, load: semantics.Operation, place: Place) -> tuple[int, Place] | None:
        """The register whose store the load at ``place`` gives back, if there is just one."""
        if load.other >= 0:
            return None
        stores = self.slices.reaching.stores(load.source, load.immediate, load.size, place)
        if stores is None or len(stores) != 1:
            return None
        return self._stored_register(stores[0]), stores[0]

    def _guard(self, register: int, place: Place, bits: int) -> int | None:
        """The bound from comparisons in front of ``place``'s block, on every path into it.

        A way in that leads back to a question being asked adds nothing: the value that comes round
        is one that came in some other way.
        """
        block = self.graph.block_at(place)
        start = (block.section, block.start)
        if start in self.graph.roots.entries or self._has_other_ways_in(block):
            return None
        bounds = []
        for source in self.graph.predecessors(block):
            question = (register, source, block)
            if question in self._active:
                continue
            if not self._may_ask():
                return None
            self._active.add(question)
            bound = self._compared((register, place, bits), source, block)
            if bound is None and not self._written_between(register, block, place):
                # The same question at the end of the block before: the value is the same.
                bound = min(self._at_end(register, source, bits), default=None)
            self._active.remove(question)
            if bound is None:
                return None
            bounds.append(bound)
        return max(bounds, default=None)

    def _has_other_ways_in(self, block: Block) -> bool:
        graph = self.graph
        return (
            graph.is_label(block)
            or graph.is_anywhere(block)
            or bool(graph.calls_into(block))
            or bool(graph.fans_into(block))
        )

    def _written_between(self, register: int, block: Block, place: Place) -> bool:
        return self.slices.reaching.last_write(register, block, place[1]) is not None

    def _compared(self, index: tuple[int, Place, int], source: Block, block: Block) -> int | None:
        """The bound from the branch at the end of ``source`` on its way to ``block``.

        ``index`` is a register, where, and how many of its low bits count.
        """
        words = self.slices.words[source.section]
        word = words[source.end - 4 >> 2]
        options = word >> 21 & 31
        if word >> 26 != BRANCH_CONDITIONAL or options & 0b10100 != 0b00100:
            return None
        falls = (source.section, source.end) == (block.section, block.start)
        wanted = bool(options & 0b01000) != falls
        field, bit = word >> 18 & 7, word >> 16 & 3
        found = self._comparison(source, field)
        if found is None:
            return None
        at, comparison = found
        limit = comparison.number
        # lt, gt, eq: what the bit being set or clear says of the upper end.
        largest = {(0, True): limit - 1, (1, False): limit, (2, True): limit}.get((bit, wanted))
        if largest is None or largest < 0:
            return None
        origin, bits = self._identity(comparison.register, at, _COMPARED_BITS)
        own_origin, own_bits = self._identity(*index)
        if isinstance(own_origin, Join) and own_origin.place == (block.section, block.start):
            # What a way that is taken again and again brings is another value each time.
            last = (source.section, source.end - 4)
            own_origin, own_bits = self._identity(own_origin.cell, last, own_bits)
        return largest if origin == own_origin and own_bits <= bits else None

    def _comparison(self, source: Block, field: int) -> tuple[Place, semantics.Comparison] | None:
        """The comparison with a constant that sets CR field ``field`` at the end of ``source``."""
        for _ in range(_LONGEST_CHAIN):
            words = self.slices.words[source.section]
            for offset in range(source.end - 4, source.start - 4, -4):
                word = words[offset >> 2]
                if semantics.may_write_condition(word, field):
                    comparison = semantics.comparison(word)
                    return comparison and ((source.section, offset), comparison)
            before = self.graph.predecessors(source)
            if len(before) != 1 or self._has_other_ways_in(source):
                return None
            source = before[0]
        return None

    def _identity(self, cell: Cell, place: Place, bits: int) -> tuple[object, int]:
        """Where the low ``bits`` bits of ``cell`` come from, and how many of them do.

        What two cells hold is the same where both are the same bits of one origin: the one
        instruction that made them, or, where several may have, the block in which their ways met,
        unless that is entered between the two places.  Had one of the two been made anew in
        between, the other would have had more than one source as well.  Fewer of the low bits are
        a number that is no larger.
        """
        reaching = self.slices.reaching
        for _ in range(_LONGEST_CHAIN):
            if isinstance(cell, Slot):
                stores = reaching.stores(cell.base, cell.displacement, cell.size, place)
                if stores is None or len(stores) != 1:
                    return reaching.at(cell, place), bits
                cell, place = self._stored_register(stores[0]), stores[0]
                continue
            source = _single_place(self.slices, cell, place)
            if source is None:
                return reaching.at(cell, place), bits
            operation = semantics.operation(self.slices.words[source[0]][source[1] >> 2])
            if operation.kind == "load" and operation.other < 0:
                base, displacement, size = operation.source, operation.immediate, operation.size
                if reaching.stores(base, displacement, size, source):
                    cell = Slot(base, displacement, size, reaching.stack_escapes())
                    place = source
                    continue
            kept = _bits_kept(operation, bits)
            if not kept:
                return (cell, source), bits
            cell, place, bits = operation.source, source, kept
        return object(), bits

    def _stored_register(self, store: Place) -> int:
        return self.slices.words[store[0]][store[1] >> 2] >> 21 & 31


def _bits_kept(operation: semantics.Operation, bits: int) -> int:
    """How many low bits of what an instruction gives are its source's, of ``bits``; 0 if others.

    All above them are zeros, or not asked for.
    """
    if operation.source < 0:
        return 0
    if operation.kind == "copy":
        return bits
    if operation.kind == "extend":
        if not operation.signed:
            return min(bits, operation.size)
        return bits if bits <= operation.size else 0
    is_mask = operation.limit > 0 and operation.limit & operation.limit + 1 == 0
    return min(bits, operation.limit.bit_length()) if is_mask else 0
