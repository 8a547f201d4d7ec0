"""Where a ``bctr`` goes: the backward slice from the jump to a table, a pointer or a label.

The problem: a switch becomes a table of distances, and most of these distances are plain numbers
that no relocation marks.  They have to be found, every one of them and nothing else, or the
rewritten switch jumps into the wrong code.  The only thing that says where the table is, how wide
its entries are and what they are distances from is the code that uses it.

The rule: the value of CTR is followed backwards through every path that leads to the jump, until it
is explained completely by one of these:

- *relative table*: base + entry, the entry loaded from a table at a known place.  Base is the
  table itself (GCC, clang) or a label in code (clang -mcmodel=large, GNU C's label differences);
- *absolute table*: the entry is the address, put there by a relocation;
- *label*: an address that a relocation, or a PC-relative instruction, makes;
- *pointer*: eight bytes from memory, an argument or a result, jumped to as they are.  Addresses in
  memory come from relocations or from code; as a tail call r12 holds the same value (64-bit ELFv2
  ABI, 2.2.1.1), otherwise it is a computed goto through a variable.

Anything else is refused.  What is computed from itself, in a loop, is followed once round: copies
bring nothing new, anything else gives a value that isn't understood.  Answers that don't depend on
such a loop are kept, and the work that a question and an object may cost is limited.

A stack slot, a displacement from r1 or from the frame pointer, gives back what was stored there.
Where the function hands out addresses on its stack, the slot may as well be a variable that others
change, so a table of the program's own (label differences) isn't believed from there; a compiler's
own tables are never in a variable.

Two things are taken for granted, because a compiler that broke them
would have broken the program: no instruction reads a register that holds nothing (an argument that
isn't one, a register that a call may have changed), and an instruction with a TOC or GOT relocation
finds the TOC pointer in its base register.

How many entries a table has is found twice.  *Extent*: in code, a table's words go on until one is
no distance to an instruction of the function, or a label is reached; in data, until the relocations
end or another table begins.  *Bound*: the comparison or mask on the index, on all paths.  A bound
beyond the extent is no contradiction only in code, where what ends the extent is seen: the compiler
knew more than the comparison says.

Source: GCC, config/rs6000/rs6000.md (tablejump) and rs6000.cc (rs6000_output_addr_diff_elt); LLVM,
lib/Target/PowerPC/PPCISelLowering.cpp (getPICJumpTableRelocBaseExpr); 64-bit ELFv2 ABI, 3.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rewriter import instruction, semantics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rewriter.control_flow import Block, Graph, Place

_MOST_ALTERNATIVES = 512
# Steps (see Slice.spend) that one question may cost, and the whole object: large functions of real
# programs take fewer than 10,000 and 15 for each word of code.
_MOST_STEPS = 200_000
_ALLOWANCE = 1_000_000
_ALLOWANCE_PER_WORD = 100
_DEEPEST = 200
_NO_CUT = 1 << 30


class Address(NamedTuple):
    """The address of an offset (bytes) in a section of this object."""

    section: int
    offset: int


class External(NamedTuple):
    """The address of a symbol that another object defines."""

    name: str


class Number(NamedTuple):
    """A number that the code itself holds."""

    number: int


class Indexed(NamedTuple):
    """A known address plus an index: register ``register`` as it is at ``place``."""

    base: Address
    register: int
    place: Place


class Entry(NamedTuple):
    """``size`` bytes loaded from a table, sign-extended if ``signed``.

    ``register`` at ``place`` is the index in bytes, -1 when it's zero.
    """

    table: Address
    size: int
    signed: bool
    register: int
    place: Place


class Distance(NamedTuple):
    """Entry ``entry`` of a table, in ``register`` at ``place``, added to ``base``."""

    entry: Entry
    base: Address
    register: int
    place: Place


class Pointer(NamedTuple):
    """Eight bytes that came here whole: ``source`` says from where."""

    source: str
    place: Place


class Opaque(NamedTuple):
    """A value that isn't understood, made by the instruction at ``place``."""

    place: Place


class Nothing(NamedTuple):
    """A register that holds nothing that a correct program may read."""

    register: int


Value = Address | External | Number | Indexed | Entry | Distance | Pointer | Opaque | Nothing
Values = frozenset[Value]


class Unresolved(Exception):
    """The slice came upon something that isn't understood; the text says what."""


class Definition(NamedTuple):
    """Where a register got its value: an instruction, or (place None) the function's entry."""

    place: Place | None
    register: int


class StackUse(NamedTuple):
    """What the instructions of a block do to the stack.

    ``events`` are (offset, is plain): plain are stores relative to r1 and r31, and writes of these
    two; the others may store anywhere: calls, stores through other registers.  ``escapes`` are
    those of the two registers, as bits, that addresses are made from.
    """

    events: Sequence[tuple[int, bool]]
    escapes: int


class Facts:
    """What a slice has to know of the object: questions that `resolve` answers."""

    __slots__ = (
        "is_code",
        "relocated",
        "stack",
        "steps_left",
        "stored_address",
        "written",
        "written_by",
    )

    def __init__(
        self,
        relocated: Callable[[Place], tuple[str, Address | External] | None],
        stored_address: Callable[[Address], Address | External | None],
        is_code: Callable[[int], bool],
        words: int,
    ) -> None:
        """Keep the questions; ``words`` is how many words of code the object has.

        ``relocated`` gives, for an instruction with a relocation, what the relocation makes of it:
        ``address`` (the instruction adds it, or loads from it), ``high`` (the upper half of one),
        ``got`` (the address lies in the linker's table and is loaded from there), ``other``.
        ``stored_address`` gives the address that a relocation puts into data.  ``is_code`` tells
        whether the section of a number is executable.
        """
        self.relocated = relocated
        self.stored_address = stored_address
        self.is_code = is_code
        # What doesn't depend on the graph and is found out once: the registers that a word and
        # that a block may write, and what a block does to the stack.
        self.written: dict[int, int] = {}
        self.written_by: dict[Block, int] = {}
        self.stack: dict[Block, StackUse] = {}
        self.steps_left = _ALLOWANCE + _ALLOWANCE_PER_WORD * words


class Slice:
    """Follows registers backwards through the graph of one function."""

    def __init__(self, graph: Graph, facts: Facts) -> None:
        """Start with nothing known."""
        self.graph = graph
        self.facts = facts
        self.words = {fragment.section: fragment.words for fragment in graph.fragments}
        self._steps = 0
        self._operations = 0
        self._active: dict[Definition, tuple[int, int]] = {}
        self._known: dict[Definition, Values] = {}
        self._cut = _NO_CUT
        self._everywhere: dict[int, list[Definition]] | None = None
        self._written = facts.written
        self._written_by = facts.written_by
        self._definitions: dict[tuple[int, Place], list[Definition]] = {}
        self._changes_of_frame: frozenset[str] | None = None
        self._stack_escapes: bool | None = None
        #: Addresses that were reloaded from a stack slot that others may have written to.
        self.doubtful: set[Address] = set()

    def restart(self) -> None:
        """Forget how many instructions have been looked at: the next question may cost as many."""
        self._steps = 0
        self._cut = _NO_CUT

    def spend(self, steps: int) -> None:
        """Count work, about one step for each instruction that is looked at.

        Raises `Unresolved` when the question at hand, or the whole object, has cost too much.
        """
        self._steps += steps
        self.facts.steps_left -= steps
        if self._steps > _MOST_STEPS or self.facts.steps_left < 0:
            raise Unresolved("the code around it is too large to follow")

    # -- definitions ---------------------------------------------------------------------------

    def definitions(self, register: int, place: Place) -> list[Definition]:
        """Every definition of ``register`` that may reach the instruction at ``place``."""
        bit = 1 << register
        known = self._definitions.get((register, place))
        if known is not None:
            return known
        places, passed = self._search(place, lambda block, end: self.last_write(block, end, bit))
        found = dict.fromkeys(Definition(place, register) for place in places)
        if self._enters(passed):
            found[Definition(None, register)] = None
        if any(map(self.graph.is_anywhere, passed)):
            found[Definition(None, register)] = None
            found.update(dict.fromkeys(self._defined_anywhere(register)))
        self._definitions[register, place] = definitions = list(found)
        return definitions

    def _enters(self, blocks: Iterable[Block]) -> bool:
        """Whether the function is entered at one of ``blocks``."""
        entries = self.graph.roots.entries
        return any((block.section, block.start) in entries for block in blocks)

    def _search(
        self, place: Place, last: Callable[[Block, int], int | None]
    ) -> tuple[list[Place], list[Block]]:
        """Search all paths backwards from ``place``.

        ``last`` gives the offset of what is looked for in a block before an offset.  Returns what
        was found first on each path, and the blocks that were passed without.
        """
        graph = self.graph
        found = []
        passed = []
        pending = [(graph.block_at(place), place[1])]
        seen: set[Block] = set()
        landed = False
        while pending:
            block, end = pending.pop()
            offset = last(block, end)
            first = block.start if offset is None else offset
            self.spend(1 + (end - first >> 2))
            if offset is not None:
                found.append((block.section, offset))
                continue
            passed.append(block)
            # Entered from calls and jumps, with the registers as they were there.
            sources = graph.calls_into(block)
            if not landed and graph.is_label(block):
                landed = True
                sources = graph.sources
            for at in sources:
                source = graph.block_at(at)
                if not graph.is_dead(source):
                    pending.append((source, at[1]))
            for before in graph.predecessors(block):
                if before not in seen:
                    seen.add(before)
                    pending.append((before, before.end))
        return found, passed

    def last_write(self, block: Block, end: int, bit: int) -> int | None:
        """The last instruction of ``block`` before offset ``end`` that writes register ``bit``."""
        if end == block.end:
            written = self._written_by.get(block)
            if written is None:
                written = self._written_by[block] = self._all_written(block)
            if not written & bit:
                return None
        words = self.words[block.section]
        suffixes = self.graph.suffixes
        known = self._written
        offset = end - 4
        while offset >= block.start:
            word = words[offset >> 2]
            if (block.section, offset) in suffixes:
                mask = semantics.written_by_prefixed(words[(offset >> 2) - 1], word)
                offset -= 4
            else:
                mask = known.get(word, -1)
                if mask < 0:
                    mask = known[word] = semantics.written(word)
            if mask & bit:
                return offset
            offset -= 4
        return None

    def _all_written(self, block: Block) -> int:
        """Every register that ``block`` may write, or more: prefixed instructions count twice."""
        known = self._written
        result = 0
        for word in self.words[block.section][block.start >> 2 : block.end >> 2]:
            mask = known.get(word, -1)
            if mask < 0:
                mask = known[word] = semantics.written(word)
            result |= mask
        if self.graph.suffixes:
            return semantics.EVERYTHING
        return result

    def _defined_anywhere(self, register: int) -> list[Definition]:
        """Every definition of ``register`` in the function, wherever it is."""
        if self._everywhere is None:
            self._everywhere = {}
            for block in self.graph.live_blocks():
                self._collect(block, self._everywhere)
        return self._everywhere.get(register, [])

    def _collect(self, block: Block, everywhere: dict[int, list[Definition]]) -> None:
        words = self.words[block.section]
        offset = block.start
        while offset < block.end:
            word = words[offset >> 2]
            place = (block.section, offset)
            if instruction.is_prefix(word) and offset + 4 < block.end:
                mask = semantics.written_by_prefixed(word, words[(offset >> 2) + 1])
                offset += 4
            else:
                mask = semantics.written(word)
            offset += 4
            register = 0
            while mask:
                if mask & 1:
                    everywhere.setdefault(register, []).append(Definition(place, register))
                mask >>= 1
                register += 1

    # -- values --------------------------------------------------------------------------------

    def values(self, register: int, place: Place) -> Values:
        """Everything that ``register`` may hold when the instruction at ``place`` begins."""
        found: set[Value] = set()
        for definition in self.definitions(register, place):
            values = self._value(definition)
            self.spend(1 + len(values))
            found |= values
            if len(found) > _MOST_ALTERNATIVES:
                raise Unresolved("it has too many possible sources")
        # See the essay: a register that holds nothing isn't read.
        defined = {value for value in found if not isinstance(value, Nothing)}
        return frozenset(defined or found)

    def _value(self, definition: Definition) -> Values:
        """What a definition may give; empty for one that is being computed (a copy in a loop)."""
        place, register = definition
        if place is None:
            if register not in _ARGUMENTS:
                return frozenset((Nothing(register),))
            first = self.graph.fragments[0]
            name = _NAMES.get(register, f"r{register} (an argument)")
            return frozenset((Pointer(name, (first.section, first.start)),))
        known = self._known.get(definition)
        if known is not None:
            return known
        if definition in self._active:
            # In a loop of copies nothing new comes in; with an operation on the way it does.
            depth, operations = self._active[definition]
            self._cut = min(self._cut, depth)
            if operations == self._operations:
                return frozenset()
            return frozenset((Opaque(place),))
        depth = len(self._active)
        if depth > _DEEPEST:
            raise Unresolved("its computation is too deep to follow")
        outside, self._cut = self._cut, _NO_CUT
        self._active[definition] = depth, self._operations
        try:
            values = self._computed(place, register)
        finally:
            del self._active[definition]
        # Cut short at a definition further out, it is only this question's part of the answer.
        if self._cut >= depth:
            self._known[definition] = values
            self._cut = outside
        else:
            self._cut = min(self._cut, outside)
        return values

    def _computed(self, place: Place, register: int) -> Values:
        section, offset = place
        word = self.words[section][offset >> 2]
        relocation = self.facts.relocated(place)
        if instruction.is_prefix(word):
            return self._prefixed(place, word, relocation)
        if semantics.is_call(word):
            name = _NAMES.get(register, f"r{register} (a call's result)")
            return frozenset((Pointer(name, place),))
        operation = semantics.operation(word)
        if register == semantics.LR and semantics.reads_address(word):
            return frozenset((Address(section, offset + 4),))
        if operation.target != register:
            return frozenset((Opaque(place),))
        if relocation is not None:
            return self._by_relocation(place, operation, relocation)
        if operation.kind == "copy":
            return self.values(operation.source, place)
        if operation.kind == "extend":
            return self._extended(place, operation)
        if operation.kind == "add":
            return self._sum(place, operation)
        if operation.kind == "load":
            return self._load(place, operation)
        return frozenset((Opaque(place),))

    def _by_relocation(
        self,
        place: Place,
        operation: semantics.Operation,
        relocation: tuple[str, Address | External],
    ) -> Values:
        kind, address = relocation
        if kind == "high":
            return frozenset((Opaque(place),))
        if kind == "got" and operation.kind == "load" and operation.size == 8:
            return frozenset((address,))
        if kind == "address" and operation.kind == "add":
            return frozenset((address,))
        if kind == "address" and operation.kind == "load":
            return self._loaded(place, address, operation)
        return frozenset((Opaque(place),))

    def _prefixed(
        self, place: Place, prefix: int, relocation: tuple[str, Address | External] | None
    ) -> Values:
        section, offset = place
        suffix = self.words[section][(offset >> 2) + 1]
        opcode = suffix >> 26
        address: Address | External
        if relocation is not None:
            kind, address = relocation
            if kind == "got" and opcode == 57:
                return frozenset((address,))
            if kind != "address":
                return frozenset((Opaque(place),))
        else:
            distance = instruction.prefixed_displacement(prefix, suffix)
            if distance is None:
                return frozenset((Opaque(place),))
            address = Address(section, offset + distance)
        if opcode == 14:
            return frozenset((address,))
        if opcode in (57, 41):
            size, signed = (8, False) if opcode == 57 else (4, True)
            load = semantics.Operation("load", 0, -1, -1, 0, size, signed)
            return self._loaded(place, address, load)
        return frozenset((Opaque(place),))

    def _operand(self, register: int, place: Place) -> Values:
        """Like `values`, for an operand of arithmetic; register -1 is the number 0."""
        if register < 0:
            return frozenset((Number(0),))
        self._operations += 1
        try:
            return self.values(register, place) or frozenset((Opaque(place),))
        finally:
            self._operations -= 1

    def _extended(self, place: Place, operation: semantics.Operation) -> Values:
        """A load's result extended later: -O0 loads a table's entry with lwz, then extsw."""
        found: set[Value] = set()
        for value in self._operand(operation.source, place):
            bits = operation.size
            if isinstance(value, Entry) and value.size * 8 == bits:
                found.add(value._replace(signed=operation.signed))
            elif isinstance(value, Entry) and value.size * 8 < bits:
                # Sign-extended to 64 bits, cut to 32 and filled with zeros is another number.
                same = operation.signed or not value.signed
                found.add(value if same else Opaque(place))
            elif isinstance(value, Number) and 0 <= value.number < 1 << bits - 1:
                found.add(value)
            else:
                found.add(Opaque(place))
        return frozenset(found)

    def _sum(self, place: Place, operation: semantics.Operation) -> Values:
        first = self._operand(operation.source, place)
        if operation.other < 0:
            second: Values = frozenset((Number(operation.immediate),))
        else:
            second = self._operand(operation.other, place)
        self.spend(len(first) * len(second))
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
        if (
            isinstance(one, Indexed)
            and isinstance(two, Number)
            and not self.facts.is_code(one.base.section)
        ):
            base = Address(one.base.section, one.base.offset + two.number)
            return Indexed(base, one.register, one.place)
        return None

    def _load(self, place: Place, operation: semantics.Operation) -> Values:
        if operation.other < 0 and operation.source in (1, 31):
            spilled = self._reload(place, operation)
            if spilled is not None:
                return spilled
        found: set[Value] = set()
        for address in self._sum(place, operation):
            found |= self._loaded(place, address, operation)
        return frozenset(found)

    def _loaded(self, place: Place, address: Value, operation: semantics.Operation) -> Values:
        """What a load from ``address`` gives."""
        size, signed = operation.size, operation.signed
        if isinstance(address, Address):
            stored = self.facts.stored_address(address) if size == 8 else None
            if stored is not None:
                return frozenset((stored,))
            return frozenset((Entry(address, size, signed, -1, place),))
        if isinstance(address, (Indexed, Distance)):
            entry = Entry(address.base, size, signed, address.register, address.place)
            return frozenset((entry,))
        if size == 8:
            return frozenset((Pointer("memory", place),))
        return frozenset((Opaque(place),))

    # -- stack slots ---------------------------------------------------------------------------

    def _reload(self, place: Place, operation: semantics.Operation) -> Values | None:
        """What was stored to the stack slot that is loaded; None if that can't be told.

        Compilers keep registers that they spill in slots whose address nobody takes.  A slot may be
        a variable of the program all the same, and then what others store there is missed: so
        addresses from it are `doubtful` where addresses on the stack are made.
        """
        stores = self.stores(operation.source, operation.immediate, operation.size, place)
        if stores is None:
            return None
        found: set[Value] = set()
        for store in stores:
            # A store and its reload are a copy: no operation is counted.
            word = self.words[store[0]][store[1] >> 2]
            values = self.values(word >> 21 & 31, store)
            if operation.size == 8:
                found |= values
            else:
                found |= {v if isinstance(v, Number) else Opaque(place) for v in values}
        if self.stack_escapes():
            for value in found:
                self.doubtful |= _addresses(value)
        return frozenset(found)

    def stores(
        self, base: int, displacement: int, size: int, place: Place, *, only_these: bool = False
    ) -> list[Place] | None:
        """The stores that may have filled the slot; None if one isn't plain or may be missing.

        A slot is a displacement from ``base``, r1 or the frame pointer.  With ``only_these`` None
        also where something else may have written to the slot in between.
        """
        if size not in (4, 8) or not self._is_frame(base, place):
            return None
        others = only_these and self.stack_escapes()
        places, passed = self._search(
            place,
            lambda block, end: self.last_store(block, end, base, displacement, others=others),
        )
        if self._enters(passed) or any(map(self.graph.is_anywhere, passed)):
            return None
        pattern = _plain_store(base, displacement, size)
        if any(self.words[at[0]][at[1] >> 2] & 0xFC1FFFFF != pattern for at in places):
            return None
        return places

    def last_store(
        self, block: Block, end: int, base: int, displacement: int, *, others: bool
    ) -> int | None:
        """The last instruction before ``end`` that stores into the slot, or moves its base.

        With ``others`` also one that may store anywhere.
        """
        words = self.words[block.section]
        for offset, is_plain in reversed(self._stack_use(block).events):
            if offset >= end:
                continue
            if not is_plain:
                if others:
                    return offset
                continue
            if (block.section, offset + 4) in self.graph.suffixes:
                return offset
            word = words[offset >> 2]
            store = semantics.store(word)
            if semantics.written(word) & 1 << base:
                return offset
            if store is None:
                continue
            if store.base != base and "set" not in self._frame_changes():
                if others:
                    return offset
                continue
            if -store.size < store.displacement - displacement < 8:
                return offset
        return None

    def _stack_use(self, block: Block) -> StackUse:
        use = self.facts.stack.get(block)
        if use is None:
            use = self.facts.stack[block] = self._find_stack_use(block)
        return use

    def _find_stack_use(self, block: Block) -> StackUse:
        words = self.words[block.section]
        events = []
        escapes = 0
        suffixes = self.graph.suffixes
        for offset in range(block.start, block.end, 4):
            word = words[offset >> 2]
            if suffixes and (block.section, offset) in suffixes:
                continue
            if suffixes and (block.section, offset + 4) in suffixes:
                suffix = words[(offset >> 2) + 1]
                store_base = semantics.prefixed_store_base(word, suffix)
                written = semantics.written_by_prefixed(word, suffix)
                if store_base in _FRAME or written & _FRAME_BITS:
                    events.append((offset, True))
                elif store_base >= 0:
                    events.append((offset, False))
                if suffix >> 26 == 14:
                    escapes |= 1 << (suffix >> 16 & 31)
                continue
            store = semantics.store(word)
            if store is not None:
                events.append((offset, store.base in _FRAME and store.other < 0))
                if store.other >= 0:
                    escapes |= 1 << store.other | 1 << max(store.base, 0)
                continue
            if semantics.written(word) & _FRAME_BITS:
                events.append((offset, True))
            elif semantics.is_call(word):
                events.append((offset, False))
            if word != _SET_FRAME:
                for base in _FRAME:
                    escapes |= semantics.makes_address(word, base) << base
        return StackUse(events, escapes & _FRAME_BITS)

    def stack_escapes(self) -> bool:
        """Whether the function makes an address on its stack that it could hand on."""
        if self._stack_escapes is None:
            bases = _FRAME_BITS if "set" in self._frame_changes() else 1 << 1
            self._stack_escapes = any(
                self._stack_use(block).escapes & bases for block in self.graph.live_blocks()
            )
        return self._stack_escapes

    def _is_frame(self, base: int, place: Place) -> bool:
        """Whether ``base`` is r1, or r31 as the frame pointer."""
        changes = frozenset() if base == 1 else self._frame_changes()
        if base == 1 or (changes <= _FRAME_POINTER and "set" in changes):
            return True
        return "set" in changes and all(
            found.place is not None
            and self.words[found.place[0]][found.place[1] >> 2] == _SET_FRAME
            for found in self.definitions(base, place)
        )

    def _frame_changes(self) -> frozenset[str]:
        """What the function does to r31: set from r1, restored from the stack, other things."""
        if self._changes_of_frame is None:
            found = set()
            for block in self.graph.live_blocks():
                words = self.words[block.section]
                for offset, is_plain in self._stack_use(block).events:
                    if is_plain and self._writes(block.section, offset) & 1 << 31:
                        found.add(_frame_change(words[offset >> 2]))
            self._changes_of_frame = frozenset(found)
        return self._changes_of_frame

    def _writes(self, section: int, offset: int) -> int:
        words = self.words[section]
        if (section, offset + 4) in self.graph.suffixes:
            return semantics.written_by_prefixed(words[offset >> 2], words[(offset >> 2) + 1])
        return semantics.written(words[offset >> 2])


_FRAME = (1, 31)
_FRAME_BITS = 1 << 1 | 1 << 31
_FRAME_POINTER = frozenset(("set", "restored"))
_SET_FRAME = 0x7C3F0B78
"""``mr r31,r1``."""


def _frame_change(word: int) -> str:
    """What an instruction that writes r31 makes of it as a frame pointer."""
    if word == _SET_FRAME:
        return "set"
    is_restored = word >> 21 == 58 << 5 | 31 and word & 3 == 0 and word >> 16 & 31 in (1, 11)
    return "restored" if is_restored else "other"


def _plain_store(base: int, displacement: int, size: int) -> int:
    """``std`` or ``stw`` of r0 to a slot: its word."""
    opcode, low = (62, displacement & 0xFFFC) if size == 8 else (36, displacement & 0xFFFF)
    return opcode << 26 | base << 16 | low


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


_ARGUMENTS = frozenset((3, 4, 5, 6, 7, 8, 9, 10, 12, semantics.LR))
"""Registers that hold something on entry (64-bit ELFv2 ABI, 2.2.1.1)."""

_NAMES = {semantics.LR: "LR (a return address)"}
