"""What registers hold: where a ``bctr`` goes, by a table, a pointer or a label.

The problem: a switch becomes a table of distances, and most of these distances are plain numbers
that no relocation marks.  They have to be found, every one of them and nothing else, or the
rewritten switch jumps into the wrong code.  The only thing that says where the table is, how wide
its entries are and what they are distances from is the code that uses it.

The rule: what CTR holds on every path that leads to the jump has to be explained completely by
these:

- *relative table*: base + entry, the entry loaded from a table at a known place.  Base is the
  table itself (GCC, clang) or a label in code (clang -mcmodel=large, GNU C's label differences);
- *absolute table*: the entry is the address, put there by a relocation;
- *label*: an address that a relocation, or a PC-relative instruction, makes;
- *pointer*: eight bytes from memory, an argument or a result, jumped to as they are.  Addresses in
  memory come from relocations or from code; as a tail call r12 holds the same value (64-bit ELFv2
  ABI, 2.2.1.1), otherwise it is a computed goto through a variable.

Anything else is refused.

The values of a function are a fixed point over its definitions and joins (`reaching`): each
definition's are what its instruction makes of its operands' values, each join's those of all ways
in.  Any assignment for which that holds is right for every step of a run, by induction over the
steps.  What is asked for is computed, with all that it depends on, and kept.  What is computed from
itself in a loop, by anything but copies, soon gives a value that isn't understood, unless it's a
pointer that goes through an array (`walks`); and where many values meet that nothing tells apart,
one stands for them.  So a function with a thousand labels and
a jump to all of them in each costs about its size.

A stack slot, a displacement from r1 or from the frame pointer, gives back what was stored there.
Where the function hands out addresses on its stack, the slot may as well be a variable that others
change, so a table of the program's own (label differences) isn't believed from there; a compiler's
own tables are never in a variable.

Two things are taken for granted, because a compiler that broke them would have broken the program:
no instruction reads a register that holds nothing (an argument that isn't one, a register that a
call may have changed), unless another function calls the middle of this one; and an instruction
with a TOC or GOT relocation finds the TOC pointer in its base register.

How many entries a table has is found twice.  *Extent*: in code, a table's words go on until one is
no distance to an instruction of the function, or a label is reached; in data, until the relocations
end or another table begins.  *Bound*: the comparison or mask on the index, on all paths.  A bound
beyond the extent is no contradiction only in code, where what ends the extent is seen: the compiler
knew more than the comparison says.

Source: Kildall, A Unified Approach to Global Program Optimization (1973); GCC,
config/rs6000/rs6000.md (tablejump) and rs6000.cc (rs6000_output_addr_diff_elt); LLVM,
lib/Target/PowerPC/PPCISelLowering.cpp (getPICJumpTableRelocBaseExpr); 64-bit ELFv2 ABI, 3.6.
"""

from __future__ import annotations

from math import gcd

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import instruction, semantics
from nopfix.rewriter.proof.reaching import Blocks, Definition, Join, Reaching, Slot

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Container, Iterator, Sequence

    from nopfix.rewriter.object.program import Place
    from nopfix.rewriter.proof.control_flow import Graph
    from nopfix.rewriter.proof.reaching import Node
    from nopfix.rewriter.proof.switch_table import Table
else:
    from _collections import deque  # all of collections would be 7 % of what the wrapper imports

_MOST_ALTERNATIVES = 2048
_MANY = 16
_MOST_SHARED = 4
"""In how many tables what meets may lie, to be told apart where it is much."""
# How often the values of one node may change before it is taken for something that is computed from
# itself: an operation gives a new value each time that its own comes round, a copy doesn't.
_MOST_CHANGES = 64
_MOST_CHANGES_BY_OPERATION = 8
_LOOKS_LIKE_A_WALK = 4


class Address(Record):
    """The address of an offset (bytes) in a section of this object."""

    section: int
    offset: int


class External(Record):
    """The address of a symbol that another object defines."""

    name: str


class Number(Record):
    """A number that the code itself holds."""

    number: int


class Indexed(Record):
    """A known address plus an index: register ``register`` as it is at ``place``, or `SUMMED`.

    Or `WALKED`: any multiple of ``step`` bytes, of either sign.
    """

    base: Address
    register: int
    place: Place
    step: int = 0


NO_INDEX, ANY_INDEX, SUMMED, WALKED = -1, -2, -3, -4
"""In place of a register that holds an index.

`SUMMED` is one that several registers hold together: all that the instruction adds but the base.
`WALKED` is none: a pointer goes through the array, as `walks` has it.
"""


class Entry(Record):
    """``size`` bytes loaded from a table, sign-extended if ``signed``.

    ``register`` at ``place`` is the index in bytes, `NO_INDEX` when it's zero, `ANY_INDEX` where
    several were different, `SUMMED` where it's the sum of several.  `WALKED` is any multiple of
    ``step``, loaded at ``place`` from the array that begins at ``table``.
    """

    table: Address
    size: int
    signed: bool
    register: int
    place: Place
    step: int = 0


class Distance(Record):
    """Entry ``entry`` of a table, in ``register`` at ``place``, added to ``base``."""

    entry: Entry
    base: Address
    register: int
    place: Place


class Between(Record):
    """The distance from ``base`` to ``target``, of which the code knows both."""

    target: Address
    base: Address


class Pointer(Record):
    """Eight bytes that came here whole: ``source`` says from where."""

    source: str
    place: Place


class Opaque(Record):
    """A value that isn't understood, made by the instruction at ``place``."""

    place: Place


class Nothing(Record):
    """A register that holds nothing that a correct program may read, from ``place`` on."""

    register: int
    place: Place


_PASSING = ("copy", "select", "load")
"""Kinds of operations that pass values on as they are."""

_PLAIN = (Opaque, Pointer, Nothing, External)

_NUMBERS = (Number, Between)
"""What a variable on the stack may hold in place of an address."""

Value = (
    Address | External | Number | Indexed | Entry | Distance | Between | Pointer | Opaque | Nothing
)
Alternatives = frozenset[Value]


class Unresolved(Exception):
    """The slice came upon something that isn't understood; the text says what."""


class Facts:
    """What has to be known of the object: questions that `resolve` answers.

    ``relocated`` gives, for an instruction with a relocation, what the relocation makes of it:
    ``address`` (the instruction adds it, or loads from it), ``high`` (the upper half of one),
    ``got`` (the address lies in the linker's table and is loaded from there), ``other``.
    ``stored_address`` gives the address that a relocation puts into data.  ``is_code`` tells
    whether the section of a number is executable.  ``sparing`` are the places of calls that keep
    r0; ``is_unruled`` tells of that of a call whether what is called is no function.
    ``array`` gives the start and end of the data symbol that an address lies in, None where that
    isn't certain or a program may change it.
    """

    __slots__ = ("array", "blocks", "is_code", "operations", "relocated", "stored_address") + (
        "tried_in_vain",
    )

    def __init__(
        self,
        relocated: Callable[[Place], tuple[str, Address | External] | None],
        stored_address: Callable[[Address], Address | External | None],
        is_code: Callable[[int], bool],
        sparing: Container[Place],
        is_unruled: Callable[[Place], bool],
        array: Callable[[Address], tuple[int, int] | None],
    ) -> None:
        """Keep the questions."""
        self.array = array
        self.relocated = relocated
        self.stored_address = stored_address
        self.is_code = is_code
        # What doesn't depend on the graph and is found out once.
        self.blocks = Blocks(sparing, is_unruled)
        self.operations: dict[int, semantics.Operation] = {}
        #: How many terms `trials` has run for indexes of which it couldn't say anything.
        self.tried_in_vain = 0


class _Unknown(Exception):
    """The value of a node is asked for that hasn't been looked at."""

    def __init__(self, node: Node) -> None:
        self.node = node


class _Pending(Exception):
    """An operand of which nothing is known yet: it is being computed, further out."""


class _Again(Exception):
    """A pointer goes through an array: what was found up to now has addresses that it hasn't."""


class _Queue:
    """Nodes in the order in which they were put there, each once."""

    def __init__(self) -> None:
        self._nodes: deque[Node] = deque()
        self._known: set[Node] = set()

    def put(self, node: Node) -> None:
        if node not in self._known:
            self._known.add(node)
            self._nodes.append(node)

    def take(self) -> Node:
        node = self._nodes.popleft()
        self._known.discard(node)
        return node

    def __bool__(self) -> bool:
        return bool(self._nodes)


class Values:
    """The values that the cells of one function hold, found for those that are asked for.

    What is asked for is computed together with everything that it depends on, to a fixed point:
    every definition's values are what its instruction makes of the values of its operands, and
    every join's those of all its operands.
    """

    def __init__(self, graph: Graph, facts: Facts) -> None:
        """Start with nothing known."""
        self.graph = graph
        self.facts = facts
        self.reaching = Reaching(graph, facts.blocks)
        self.words = self.reaching.words
        self._values: dict[Node, Alternatives] = {}
        self._users: dict[Node, dict[Node, None]] = {}
        self._changes: dict[Node, int] = {}
        self._fixed: set[Node] = set()
        self._crowded: set[Join] = set()
        self._walks: dict[Definition, Alternatives] = {}
        self._strides: set[int] = {0}
        #: Where pointers begin that go through arrays, or in front of these, and where they are
        #: behind the first sums.
        self.walks_begin: set[tuple[Address, Address]] = set()
        self._no_walks: set[Node] = set()
        self._current: Node | None = None
        #: Addresses that were reloaded from a stack slot that others may have written to.
        self.doubtful: set[Address] = set()
        # What `switch_table` found by what was asked: many jumps go through an interpreter's table.
        self.distances: dict[tuple[object, ...], tuple[Sequence[Place], Sequence[int]]] = {}
        self.tables: dict[tuple[object, ...], Table] = {}

    def live_words(self) -> Iterator[tuple[Place, int]]:
        """The words of the function's live code, each with its place."""
        for block in self.graph.live_blocks():
            words = self.words[block.section]
            for offset in range(block.start, block.end, 4):
                yield (block.section, offset), words[offset >> 2]

    # -- the fixed point -----------------------------------------------------------------------

    def values(self, register: int, place: Place) -> Alternatives:
        """Everything that ``register`` may hold when the instruction at ``place`` begins.

        Raises `Unresolved` where that is too much.
        """
        node = self.reaching.at(register, place)
        if self._current is None:
            self._solve(node)
        return _without_nothing(self._of(node))

    def _of(self, node: Node) -> Alternatives:
        """The values of ``node`` so far; notes that the current node depends on them."""
        current = self._current
        if current is not None:
            self._users.setdefault(node, {})[current] = None
        found = self._values.get(node)
        if found is None:
            raise _Unknown(node)
        return found

    def _solve(self, node: Node) -> None:
        """Compute ``node`` and all that it depends on."""
        while True:
            try:
                return self._settle(node)
            except _Again:
                for known in (self._values, self._users, self._changes, self._fixed, self._crowded):
                    known.clear()

    def _settle(self, node: Node) -> None:
        again = _Queue()
        stuck: dict[Node, None] = {}
        self._look_at_new(node, again, stuck)
        while again or stuck:
            while again:
                changed = again.take()
                stuck.pop(changed, None)
                try:
                    self._update(changed, again)
                except _Unknown as unknown:
                    self._look_at_new(unknown.node, again, stuck)
                    again.put(changed)
                except _Pending:
                    stuck[changed] = None
            # What depends on nothing but itself is never computed in a run, or is anything.
            for left in stuck:
                self._set(left, frozenset((Opaque(_place(left)),)), again)
                self._fixed.add(left)
            stuck.clear()

    def _look_at_new(self, node: Node, again: _Queue, stuck: dict[Node, None]) -> None:
        """Compute ``node``, of which nothing is known, behind all that it depends on."""
        pending = [node]
        open_nodes: set[Node] = set()
        while pending:
            node = pending[-1]
            if node not in self._values:
                self._values[node] = frozenset()
                open_nodes.add(node)
                if isinstance(node, Join):
                    pending += self._new_operands(node)
                    continue
            elif node not in open_nodes:
                pending.pop()
                continue
            try:
                self._update(node, again)
            except _Unknown as unknown:
                pending.append(unknown.node)
                continue
            except _Pending:
                stuck[node] = None
            open_nodes.discard(node)
            pending.pop()

    def _new_operands(self, join: Join) -> list[Node]:
        """The operands of ``join`` of which nothing is known, the last one first."""
        new = []
        for operand in self.reaching.operands(join):
            self._users.setdefault(operand, {})[join] = None
            if operand not in self._values:
                new.append(operand)
        new.reverse()
        return new

    def _update(self, node: Node, again: _Queue) -> None:
        """Compute the values of ``node`` from what is known of its operands."""
        if node in self._fixed:
            return
        self._current = node
        try:
            new = self._joined(node) if isinstance(node, Join) else self._made(node)
        except Unresolved:
            new = frozenset((Opaque(_place(node)),))
        finally:
            self._current = None
        old = self._values[node]
        if new == old:
            return
        changes = self._changes[node] = self._changes.get(node, 0) + 1
        if changes == _LOOKS_LIKE_A_WALK:
            self._look_for_walk(node)
        if changes > (_MOST_CHANGES if self._adds_nothing(node) else _MOST_CHANGES_BY_OPERATION):
            # Computed from itself, round and round.
            new = old | new | {Opaque(_place(node))}
            self._fixed.add(node)
        self._set(node, new, again)

    def _look_for_walk(self, node: Node) -> None:
        """Begin anew where ``node`` moves a pointer through an array."""
        from nopfix.rewriter.proof import walks

        if not walks.is_addition(self, node):
            return
        found = walks.find(self, node, self._no_walks)
        step = 0 if found is None else gcd(*found.strides)
        walked: dict[Definition, Alternatives] = {}
        for addition, firsts in () if found is None else found.additions.items():
            begun = [one for one in firsts if not isinstance(one[0], Nothing)]
            walked[addition] = frozenset(
                Indexed(Address(one.section, one.offset + added), WALKED, _place(node), step)
                for one, added in begun
                if isinstance(one, Address) and not self.facts.is_code(one.section)
            )
            if not begun or len(walked[addition]) < len(begun):
                found = None
                break
        if found is None:
            self._no_walks.add(node)
            return
        self._walks.update(walked)
        self._strides |= found.strides
        for firsts in found.additions.values():
            self.walks_begin.update(
                (one, Address(one.section, one.offset + added))
                for one, added in firsts
                if isinstance(one, Address)
            )
        raise _Again

    def arrays_entered(self, address: Indexed) -> set[tuple[int, int] | None]:
        """The arrays in which what is read first and next at a `WALKED` address may lie."""
        section, offset = address.base
        return {self.facts.array(Address(section, offset + one)) for one in self._strides}

    def array_entered(self, address: Indexed) -> Address | None:
        """The first place in its array that may be read at a `WALKED` address.

        None where that array isn't certain.  A compiler may begin with an address in front of the
        array; but what is read first, and next, is in it.
        """
        arrays = self.arrays_entered(address)
        array = arrays.pop()
        if arrays or array is None:
            return None
        section, offset = address.base
        return Address(section, array[0] + (offset - array[0]) % address.step)

    def _set(self, node: Node, new: Alternatives, again: _Queue) -> None:
        if new != self._values[node]:
            self._values[node] = new
            for user in self._users.get(node, ()):
                if user not in self._fixed:
                    again.put(user)

    def _adds_nothing(self, node: Node) -> bool:
        """Whether ``node`` passes values on as they are: a join, a copy, a reload."""
        if isinstance(node, Join) or node.place is None or not isinstance(node.cell, int):
            return True
        section, offset = node.place
        return self._operation(self.words[section][offset >> 2]).kind in _PASSING

    def _operation(self, word: int) -> semantics.Operation:
        known = self.facts.operations.get(word)
        if known is None:
            known = self.facts.operations[word] = semantics.operation(word)
        return known

    def _joined(self, join: Join) -> Alternatives:
        """What comes in on any way; one value stands for many that nothing tells apart.

        The opcodes of an interpreter may share one jump, each with an index of its own.
        """
        known = self._values
        found = frozenset().union(*[known[operand] for operand in self.reaching.operands(join)])
        if len(found) > _MANY or join in self._crowded:
            self._crowded.add(join)
            keeps = len({_table(value) for value in found}) <= _MOST_SHARED
            found = frozenset(self._standing_for(value, join.place, keeps) for value in found)
            if len(found) > _MOST_ALTERNATIVES:
                raise Unresolved("it has too many possible sources")
        return found

    def _standing_for(self, value: Value, place: Place, keeps: bool) -> Value:
        """What stands for ``value`` and all like it where many meet: addresses of code are kept.

        So is what has to do with a table, if it ``keeps`` that.
        """
        if isinstance(value, Entry) and value.size == 8:
            return value._replace(register=ANY_INDEX, place=place)
        if keeps and isinstance(value, (Indexed, Entry, Distance)):
            return value
        if isinstance(value, Pointer):
            return Pointer("many places", place)
        is_label = isinstance(value, Address) and self.facts.is_code(value.section)
        return value if is_label or isinstance(value, External) else Opaque(place)

    def made(self, definition: Definition) -> Alternatives:
        """What an instruction gives that depends on no other one; otherwise what isn't known."""
        place = definition.place
        if place is None:
            return self._made(definition)
        relocated = self.facts.relocated(place) is not None
        return self._made(definition) if relocated else frozenset((Opaque(place),))

    def _made(self, definition: Definition) -> Alternatives:
        """What the instruction at ``definition`` leaves in its cell."""
        place, cell = definition
        if definition in self._walks:
            return self._walks[definition]
        if not isinstance(cell, int):
            return self._stored(definition, cell)
        if place is not None:
            return frozenset(self._computed(place, cell))
        first = self.graph.fragments[0].section, self.graph.fragments[0].start
        if cell not in _ARGUMENTS and not self.graph.roots.is_called_inside:
            return frozenset((Nothing(cell, first),))
        return frozenset((Pointer(_NAMES.get(cell, f"r{cell} (an argument)"), first),))

    def _stored(self, definition: Definition, slot: Slot) -> Alternatives:
        """What a stack slot holds behind a store, or on entry.

        What nobody has stored whole comes from memory.
        """
        place = definition.place
        if place is None or not self.reaching.is_plain_store(slot, place):
            first = self.graph.fragments[0]
            return self._from_memory(place or (first.section, first.start), slot.size)
        found = self.values(self.words[place[0]][place[1] >> 2] >> 21 & 31, place)
        if slot.size == 8:
            return found
        kept = (Number, Entry)
        return frozenset(v if isinstance(v, kept) else Opaque(place) for v in found)

    @staticmethod
    def _from_memory(place: Place, size: int) -> Alternatives:
        return frozenset((Pointer("memory", place) if size == 8 else Opaque(place),))

    def addresses(self, base: int, other: int, displacement: int, place: Place) -> Alternatives:
        """What the sum of two registers, or of one and a number where ``other`` is -1, may be.

        A register -1 is the number 0.  Raises `Unresolved` where that is too much.
        """
        for register in (base, other):
            if register >= 0 and not self.values(register, place):
                return frozenset()
        return self._sum(place, semantics.Operation("add", -1, base, other, displacement))

    # -- one instruction -----------------------------------------------------------------------

    def _computed(self, place: Place, register: int) -> Alternatives:
        section, offset = place
        word = self.words[section][offset >> 2]
        relocation = self.facts.relocated(place)
        if instruction.is_prefix(word):
            return self._prefixed(place, word, relocation)
        if semantics.is_call(word):
            name = _NAMES.get(register, f"r{register} (a call's result)")
            return frozenset((Pointer(name, place),))
        operation = self._operation(word)
        if register == instruction.LR and semantics.reads_address(word):
            return frozenset((Address(section, offset + 4),))
        if operation.target != register:
            address = semantics.updated(word)
            return frozenset((Opaque(place),)) if address is None else self._sum(place, address)
        if relocation is not None:
            return self._by_relocation(place, operation, relocation)
        if operation.kind == "copy":
            return self.values(operation.source, place)
        if operation.kind == "select":
            return self._either(place, operation)
        if operation.kind == "extend":
            return self._extended(place, operation)
        if operation.kind == "add":
            return self._sum(place, operation)
        if operation.kind == "subtract":
            return self._difference(place, operation)
        if operation.kind == "load":
            return self._load(place, operation)
        if operation.kind in ("scale", "multiply"):
            return self._product(place, operation, word)
        return frozenset((Opaque(place),))

    def _product(self, place: Place, operation: semantics.Operation, word: int) -> Alternatives:
        """A number times a number, or some bits of one; of anything else, what isn't understood.

        One of several numbers is an index like any: not all of them need come here.
        """
        values = tuple(self._operand(operation.source, place)) if operation.source >= 0 else ()
        if len(values) == 1 and isinstance(values[0], Number):
            from nopfix.rewriter.power import arithmetic

            computation = arithmetic.find(word)
            if computation is not None:
                return frozenset((Number(computation.function(values[0].number)[0]),))
        return frozenset((Opaque(place),))

    def _by_relocation(
        self,
        place: Place,
        operation: semantics.Operation,
        relocation: tuple[str, Address | External],
    ) -> Alternatives:
        kind, address = relocation
        if kind == "got" and operation.kind == "load" and operation.size == 8:
            return frozenset((address,))
        if kind == "address" and operation.kind == "add":
            return frozenset((address,))
        if kind == "address" and operation.kind == "load":
            return self._loaded(place, address, operation)
        return frozenset((Opaque(place),))

    def _prefixed(
        self, place: Place, prefix: int, relocation: tuple[str, Address | External] | None
    ) -> Alternatives:
        section, offset = place
        suffix = self.words[section][(offset >> 2) + 1]
        opcode = suffix >> 26
        address: Address | External
        if relocation is not None:
            kind, address = relocation
            if kind == "got" and opcode == instruction.PLD:
                return frozenset((address,))
            if kind != "address":
                return frozenset((Opaque(place),))
        else:
            distance = instruction.prefixed_displacement(prefix, suffix)
            if distance is None:
                return frozenset((Opaque(place),))
            address = Address(section, offset + distance)
        if opcode == instruction.PADDI:
            return frozenset((address,))
        if opcode in (instruction.PLD, instruction.PLWA):
            size, signed = (8, False) if opcode == instruction.PLD else (4, True)
            load = semantics.Operation("load", 0, -1, -1, 0, size, signed)
            return self._loaded(place, address, load)
        return frozenset((Opaque(place),))

    def _operand(self, register: int, place: Place) -> Alternatives:
        """Like `values`, for an operand of an instruction; register -1 is the number 0."""
        if register < 0:
            return frozenset((Number(0),))
        found = self._of(self.reaching.at(register, place))
        if not found:
            raise _Pending
        return _without_nothing(found)

    def _either(self, place: Place, operation: semantics.Operation) -> Alternatives:
        """What one of two registers holds, or the number 0 in place of the first."""
        zero: Alternatives = frozenset((Number(0),))
        first = zero if operation.source < 0 else self.values(operation.source, place)
        return first | self.values(operation.other, place)

    def _extended(self, place: Place, operation: semantics.Operation) -> Alternatives:
        """A load's result extended later: -O0 loads a table's entry with lwz, then extsw."""
        return _low_bits(self._operand(operation.source, place), operation, operation.size, place)

    def _sum(self, place: Place, operation: semantics.Operation) -> Alternatives:
        first = self._operand(operation.source, place)
        if operation.other < 0:
            second: Alternatives = frozenset((Number(operation.immediate),))
        else:
            second = self._operand(operation.other, place)
        if len(first) * len(second) > _MANY:
            first, second = _one_of_each(first), _one_of_each(second)
        if len(first) * len(second) > _MOST_ALTERNATIVES:
            raise Unresolved("it has too many possible sources")
        found: set[Value] = set()
        for one in first:
            for two in second:
                found.add(
                    self._add(one, two, operation.other, place)
                    or self._add(two, one, operation.source, place)
                    or Opaque(place)
                )
        return frozenset(found)

    def _add(self, one: Value, two: Value, register: int, place: Place) -> Value | None:
        """``one`` + ``two``, where ``two`` is in ``register`` at ``place``; None if not that way.

        A number that the code adds to an address of code is a distance in code: nobody would
        change it when the code moves.
        """
        if isinstance(one, Number) and isinstance(two, Number):
            return Number(one.number + two.number)
        if isinstance(one, Number) and one.number == 0:
            return two
        if isinstance(one, Address):
            if isinstance(two, Number) and not self.facts.is_code(one.section):
                return Address(one.section, one.offset + two.number)
            if isinstance(two, Entry):
                # Whether a jump or an index, only the user of the sum can tell.
                return Distance(two, one, register, place)
            if isinstance(two, (Opaque, Pointer)):
                return Indexed(one, register, place)
            if isinstance(two, Between) and two.base == one:
                return two.target
        if (
            isinstance(one, Indexed)
            and isinstance(two, Number)
            and not self.facts.is_code(one.base.section)
        ):
            base = Address(one.base.section, one.base.offset + two.number)
            return one._replace(base=base)
        if isinstance(one, (Indexed, Distance)) and isinstance(two, (Opaque, Pointer, Entry)):
            return (
                None if self.facts.is_code(one.base.section) else Indexed(one.base, SUMMED, place)
            )
        return None

    def _difference(self, place: Place, operation: semantics.Operation) -> Alternatives:
        """The distance of two labels: clang makes ``*program`` of what it knows of a program."""
        first = self._operand(operation.source, place) if operation.source >= 0 else ()
        second = self._operand(operation.other, place) if operation.other >= 0 else ()
        if len(first) == len(second) == 1:
            (target,), (base,) = first, second
            if isinstance(target, Address) and isinstance(base, Address):
                return frozenset((Between(target, base),))
        return frozenset((Opaque(place),))

    def _load(self, place: Place, operation: semantics.Operation) -> Alternatives:
        if operation.other < 0 and self._is_slot(operation, place):
            return self._reloaded(place, operation)
        found: set[Value] = set()
        for address in self._sum(place, operation):
            found |= self._loaded(place, address, operation)
        return frozenset(found)

    def _is_slot(self, operation: semantics.Operation, place: Place) -> bool:
        return operation.size in (4, 8) and self.reaching.is_frame(operation.source, place)

    def _reloaded(self, place: Place, operation: semantics.Operation) -> Alternatives:
        """What was stored to the stack slot that is loaded.

        Where addresses on the stack are made the slot may be a variable that others change. An
        address from it is `doubtful` then; a number stays one only where nothing comes between
        that may store there.
        """
        slot = Slot(operation.source, operation.immediate, operation.size)
        found = self._of(self.reaching.at(slot, place))
        if self.reaching.stack_escapes():
            for value in found:
                self.doubtful |= _addresses(value)
            if any(isinstance(value, _NUMBERS) for value in found):
                after = self._of(self.reaching.at(slot._replace(others=True), place))
                found = after.union(v for v in found if not isinstance(v, _NUMBERS))
        return found if slot.size == 8 else _low_bits(found, operation, 32, place)

    def _loaded(self, place: Place, address: Value, operation: semantics.Operation) -> Alternatives:
        """What a load from ``address`` gives."""
        size, signed = operation.size, operation.signed
        if isinstance(address, Address):
            stored = self.facts.stored_address(address) if size == 8 else None
            if stored is not None:
                return frozenset((stored,))
            return frozenset((Entry(address, size, signed, NO_INDEX, place),))
        if isinstance(address, Indexed) and address.register == WALKED:
            start = self.array_entered(address)
            if start is not None:
                return frozenset((Entry(start, size, signed, WALKED, place, address.step),))
        elif isinstance(address, (Indexed, Distance)):
            entry = Entry(address.base, size, signed, address.register, address.place)
            return frozenset((entry,))
        if size == 8:
            return frozenset((Pointer("memory", place),))
        return frozenset((Opaque(place),))


def _table(value: Value) -> Address | None:
    """The table that ``value`` is the address or an entry of."""
    if isinstance(value, Distance):
        return value.entry.table
    if isinstance(value, Entry):
        return value.table
    return value.base if isinstance(value, Indexed) else None


def _without_nothing(values: Alternatives) -> Alternatives:
    """See the essay: a register that holds nothing isn't read."""
    defined = frozenset(value for value in values if not isinstance(value, Nothing))
    return defined or values


def _low_bits(
    values: Alternatives, operation: semantics.Operation, bits: int, place: Place
) -> Alternatives:
    """The low ``bits`` bits of ``values``, as ``operation`` at ``place`` extends them."""
    found: set[Value] = set()
    signed, half = operation.signed, 1 << bits - 1
    for value in values:
        if isinstance(value, Entry) and value.size * 8 == bits:
            found.add(value._replace(signed=signed))
        elif isinstance(value, Entry) and value.size * 8 < bits:
            # Sign-extended to 64 bits, cut to 32 and filled with zeros is another number.
            found.add(value if signed or not value.signed else Opaque(place))
        elif isinstance(value, Between) and signed and bits == 32:
            found.add(value)  # No section is larger.
        elif isinstance(value, Number) and (-half if signed else 0) <= value.number < half:
            found.add(value)
        else:
            found.add(value if isinstance(value, Opaque) else Opaque(place))
    return frozenset(found)


def _one_of_each(values: Alternatives) -> Alternatives:
    """``values``, with one for all of those of which a sum depends on nothing but the kind."""
    plain = {type(value): value for value in values if isinstance(value, _PLAIN)}
    return frozenset(v for v in values if not isinstance(v, _PLAIN)).union(plain.values())


def _place(node: Node) -> Place:
    return node.place or (0, 0)


def _addresses(value: Value) -> set[Address]:
    """The addresses that ``value`` is made of."""
    if isinstance(value, Address):
        return {value}
    if isinstance(value, Indexed):
        return {value.base}
    if isinstance(value, Entry):
        return {value.table}
    if isinstance(value, Distance):
        return {value.base, value.entry.table}
    return set()


_ARGUMENTS = frozenset((3, 4, 5, 6, 7, 8, 9, 10, 12, instruction.LR))
"""Registers that hold something on entry (64-bit ELFv2 ABI, 2.2.1.1)."""

_NAMES = {instruction.LR: "LR (a return address)"}
