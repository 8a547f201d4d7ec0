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

Anything else is refused.  Two things are taken for granted, because a compiler that broke them
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
    from collections.abc import Callable, Iterable

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


class Facts:
    """What a slice has to know of the object: two questions, answered by `resolve`."""

    __slots__ = ("relocated", "steps_left", "stored_address", "written", "written_by")

    def __init__(
        self,
        relocated: Callable[[Place], tuple[str, Address | External] | None],
        stored_address: Callable[[Address], Address | External | None],
        words: int,
    ) -> None:
        """Keep the two questions; ``words`` is how many words of code the object has.

        ``relocated`` gives, for an instruction with a relocation, what the relocation makes of it:
        ``address`` (the instruction adds it, or loads from it), ``high`` (the upper half of one),
        ``got`` (the address lies in the linker's table and is loaded from there), ``other``.
        ``stored_address`` gives the address that a relocation puts into data.
        """
        self.relocated = relocated
        self.stored_address = stored_address
        # What doesn't depend on the graph and is found out once: the registers that a word and
        # that a block may write.
        self.written: dict[int, int] = {}
        self.written_by: dict[Block, int] = {}
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
            if not landed and graph.is_landing(block):
                # Entered from calls and jumps, with the registers as they were there.
                landed = True
                pending += [(graph.block_at(at), at[1]) for at in graph.sources]
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
            name = _NAMES.get(register, f"r{register}, an argument")
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
            name = _NAMES.get(register, f"r{register}, a call's result")
            return frozenset((Pointer(name, place),))
        operation = semantics.operation(word)
        if register == semantics.LR and operation.target != register:
            # bl .+4 and bcl 20,31,.+4: LR is the address behind it.
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
            elif (isinstance(value, Entry) and value.size * 8 < bits) or (
                isinstance(value, Number) and 0 <= value.number < 1 << bits - 1
            ):
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
                    _add(one, two, operation.other, place)
                    or _add(two, one, operation.source, place)
                    or Opaque(place)
                )
        return frozenset(found)

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

        A slot is a displacement from r1 or r31.  Compilers keep registers that they spill in slots
        whose address nobody takes, so only direct stores count.
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
        return frozenset(found)

    def stores(self, base: int, displacement: int, size: int, place: Place) -> list[Place] | None:
        """The stores that may have filled the slot; None if one isn't plain or may be missing."""
        opcode, low = (62, displacement & 0xFFFC) if size == 8 else (36, displacement & 0xFFFF)
        if size not in (4, 8):
            return None
        pattern = opcode << 26 | base << 16 | low
        places, passed = self._search(
            place,
            lambda block, end: self._last_store(block, end, base, displacement, pattern),
        )
        if self._enters(passed) or any(map(self.graph.is_anywhere, passed)):
            return None
        if any(self.words[at[0]][at[1] >> 2] & 0xFC1FFFFF != pattern for at in places):
            return None
        return places

    def _last_store(
        self, block: Block, end: int, base: int, displacement: int, pattern: int
    ) -> int | None:
        """The last instruction that stores into the slot's eight bytes, or moves its base."""
        words = self.words[block.section]
        offset = end - 4
        while offset >= block.start:
            word = words[offset >> 2]
            if (block.section, offset) in self.graph.suffixes:
                offset -= 8
                continue
            if word & 0xFC1FFFFF == pattern or semantics.written(word) & 1 << base:
                return offset
            if word >> 26 in _STORES and word >> 16 & 31 == base:
                distance = semantics.signed_field(word, 16) - displacement
                if -8 < distance < 8:
                    return offset
            offset -= 4
        return None


_ARGUMENTS = frozenset((3, 4, 5, 6, 7, 8, 9, 10, 12, semantics.LR))
"""Registers that hold something on entry (64-bit ELFv2 ABI, 2.2.1.1)."""

_NAMES = {semantics.LR: "LR, a return address"}

# Stores of general and floating-point registers with a displacement, by primary opcode.
_STORES = (36, 38, 44, 47, 52, 54, 62)


def _add(one: Value, two: Value, register: int, place: Place) -> Value | None:
    """``one`` + ``two``, where ``two`` is in ``register`` at ``place``; None if not that way."""
    if isinstance(one, Number) and isinstance(two, Number):
        return Number(one.number + two.number)
    if isinstance(one, Number) and one.number == 0:
        return two
    if isinstance(one, Address):
        if isinstance(two, Number):
            return Address(one.section, one.offset + two.number)
        if isinstance(two, Entry):
            # Whether a jump or an index, only the user of the sum can tell.
            return Distance(two, one, register, place)
        if isinstance(two, (Opaque, Pointer)):
            return Indexed(one, register, place)
    if isinstance(one, Indexed) and isinstance(two, Number):
        base = Address(one.base.section, one.base.offset + two.number)
        return Indexed(base, one.register, one.place)
    return None
