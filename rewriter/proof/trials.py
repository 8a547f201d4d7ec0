"""Whether an index reaches every entry of a table: it is tried.

The problem: what lies between label differences may be other numbers, and `steps` tells by how an
index is made of sums and products.  What is made otherwise, the rest of a division (a product with
a reciprocal, shifted and subtracted), a minimum, a number of bits, is no such sum, and may reach
every entry all the same.

The rule: the instructions that make the index are run, with numbers in place of what isn't followed
any further.  An entry that such numbers lead to is one that is read, as far as the code tells.  So
if each is found, no other numbers lie in between.  What isn't found says nothing.

Numbers count only where nothing is lost on the way: three times a number reaches everything, once
the product is more than a register holds, and no program means that.  But it does where a factor is
larger than the table has bytes: its product isn't within the table before something is lost, as
in a hash.  Nor does a product of two that aren't known count, of which one may be the size of a
struct, unless it is part of a division's rest.  Of several values that may be there, one is taken,
as `steps` takes it; what comes round a loop counts where `steps` says that it is any number.

Source: GNU C's manual, "Labels as Values"; Granlund and Montgomery, Division by Invariant Integers
using Multiplication (1994).
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import arithmetic, instruction, semantics
from nopfix.rewriter.power.opcodes import find
from nopfix.rewriter.proof.reaching import Definition, Join
from nopfix.rewriter.proof.steps import Sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nopfix.rewriter.object.program import Place
    from nopfix.rewriter.proof.indirect import Entry, Values
    from nopfix.rewriter.proof.reaching import Cell, Node

_MOST_TERMS = 64
_MOST_RANDOM = 5000
_MOST_ENTRIES = 4096
_MOST_TERMS_RUN, _FEW_TERMS_RUN = 1 << 21, 1 << 12
"""How many terms are run for all of an object's indexes that nothing is found of; and for each.

An index that reaches every entry mostly shows that within a few hundred.  One that doesn't costs as
much as is allowed, so thousands of them would take hours; behind the first few each gets little.
"""


class _NotKnown(Exception):
    """The index is made in a way that can't be tried."""


class _Unfit(Exception):
    """These numbers don't count."""


class _Meter:
    """How many terms may still be run for an index."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        """Begin with ``left``."""
        self.left = left


class _Leaf(Record):
    """What isn't followed: a number from ``lowest`` to ``highest``."""

    lowest: int
    highest: int


class _Choice(Record):
    """One of the terms ``of``."""

    of: tuple[int, ...]


class _Step(Record):
    """What ``function`` makes of the terms ``of``.

    ``is_constant`` says that all of them are; ``factor`` is the term that is a product's constant
    one, -1 where it's no product.
    """

    of: tuple[int, ...]
    function: Callable[..., arithmetic.Outcome]
    is_constant: bool
    factor: int


_Term = _Leaf | _Choice | _Step

_ANYTHING = _Leaf(-1 << 63, (1 << 63) - 1)
_BITS = {"setbc": (0, 1), "setbcr": (0, 1), "setnbc": (-1, 0), "setnbcr": (-1, 0)}
"""What a bit of the condition register gives."""


def reaches_all(slices: Values, entry: Entry, count: int) -> bool:
    """Whether the index of ``entry`` may be that of each of ``count`` entries, without a gap."""
    size = entry.size
    if entry.register < 0 or count > _MOST_ENTRIES:
        return False
    try:
        terms = _Terms(slices).make(entry.register, entry.place)
    except _NotKnown:
        return False
    missing = {size * number for number in range(count)}
    facts = slices.facts
    allowed = max(_MOST_TERMS_RUN - facts.tried_in_vain, _FEW_TERMS_RUN)
    meter = _Meter(allowed)
    for values in _trials(terms, missing, meter):
        if meter.left < 0:
            break
        try:
            missing.discard(_run(terms, values, size * count, meter))
        except (_Unfit, ZeroDivisionError):
            continue
        if not missing:
            return True
    facts.tried_in_vain += allowed - meter.left
    return False


# -- what the index is made of ---------------------------------------------------------------------


class _Terms:
    """Finds the terms of an index, operands before what is made of them."""

    def __init__(self, slices: Values) -> None:
        self._slices = slices
        self._sums = Sums(slices)
        self._terms: list[_Term] = []
        self._leaves: list[frozenset[int]] = []
        self._known: dict[Node, int] = {}
        self._active: set[Node] = set()

    def make(self, register: int, place: Place) -> list[_Term]:
        """The terms of ``register`` at ``place``, which is the last of them."""
        self._of(register, place)
        return self._terms

    def _of(self, cell: Cell, place: Place) -> int:
        return self._node(self._sums.at(cell, place))

    def _node(self, node: Node) -> int:
        known = self._known.get(node)
        if known is not None:
            return known
        if node in self._active or len(self._known) > _MOST_TERMS:
            raise _NotKnown
        self._active.add(node)
        found = self._joined(node) if isinstance(node, Join) else self._made(node)
        self._active.discard(node)
        self._known[node] = found
        return found

    def _add(self, term: _Term) -> int:
        at = len(self._terms)
        self._terms.append(term)
        own = frozenset((at,)) if isinstance(term, _Leaf) else frozenset()
        of = () if isinstance(term, _Leaf) else term.of
        self._leaves.append(own.union(*(self._leaves[one] for one in of)))
        return at

    def _joined(self, join: Join) -> int:
        if self._sums.factor(join) == 1:
            return self._add(_ANYTHING)
        return self._one_of(self._slices.reaching.operands(join))

    def _one_of(self, nodes: Sequence[Node]) -> int:
        """One of ``nodes``, unless one of them is known to go in steps: others may do as well."""
        if any(self._sums.factor(node) not in (None, 0, 1) for node in nodes):
            raise _NotKnown
        return self._add(_Choice(tuple(map(self._node, nodes))))

    def _made(self, definition: Definition) -> int:
        place, cell = definition
        if place is None:
            return self._add(_ANYTHING)
        words = self._slices.words[place[0]]
        word = words[place[1] >> 2]
        if not isinstance(cell, int):
            store = self._sums.covering(cell, place)
            if store is None or self._slices.reaching.stack_escapes():
                raise _NotKnown
            return self._of(store.source, place)
        if semantics.is_call(word):
            return self._add(_ANYTHING)
        if instruction.is_prefix(word):
            return self._number(word, words[(place[1] >> 2) + 1], place)
        operation = semantics.operation(word)
        if operation.kind == "load" and operation.target == cell:
            return self._loaded(operation, place)
        if self._slices.facts.relocated(place) is not None:
            raise _NotKnown
        if operation.kind == "copy":
            return self._of(operation.source, place)
        if operation.kind == "select":
            other = self._sums.at(operation.other, place)
            if operation.source >= 0:
                return self._one_of((self._sums.at(operation.source, place), other))
            return self._add(_Choice((self._add(_Leaf(0, 0)), self._one_of((other,)))))
        return self._computed(word, cell, place)

    def _operand(self, register: int, place: Place) -> int:
        return self._add(_Leaf(0, 0)) if register < 0 else self._of(register, place)

    def _number(self, prefix: int, suffix: int, place: Place) -> int:
        """``pli``: a number in a prefixed instruction."""
        is_number = suffix >> 26 == instruction.PADDI and not suffix >> 16 & 31
        if not is_number or prefix >> 20 & 1 or self._slices.facts.relocated(place) is not None:
            raise _NotKnown
        number = instruction.prefixed_number(prefix, suffix)
        return self._add(_Leaf(number, number))

    def _loaded(self, load: semantics.Operation, place: Place) -> int:
        slot = self._sums.slot(load, place)
        bits = 8 * load.size
        if slot is None:
            lowest = -1 << bits - 1 if load.signed or bits == 64 else 0
            return self._add(_Leaf(lowest, lowest + (1 << bits) - 1))
        of = self._of(slot, place)
        kept = arithmetic.low_bits(bits, load.signed)
        return self._add(_Step((of,), kept, is_constant=False, factor=-1))

    def _computed(self, word: int, cell: int, place: Place) -> int:
        row = find(word)
        if row is not None and row.mnemonic in _BITS:
            return self._add(_Leaf(*_BITS[row.mnemonic]))
        if row is not None and row.mnemonic == "addze":
            return self._rounded(word, place)
        computation = arithmetic.find(word)
        if computation is None or semantics.written(word) != 1 << cell:
            raise _NotKnown
        of = tuple(self._operand(one, place) for one in computation.operands)
        constant = [self._is_constant(one) for one in of]
        factor = -1
        if computation.is_product and not all(constant[:2]):
            factor = next((one for one, known in zip(of[:2], constant, strict=False) if known), -1)
            if factor < 0 and len(of) == 1:
                factor = self._add(_Leaf(*[instruction.signed_field(word, 16)] * 2))
            if factor < 0 and not self._is_part_of_rest(of[0], of[1]):
                raise _NotKnown
        elif row is not None and row.mnemonic in _LEFT and not (constant[0] or constant[1]):
            raise _NotKnown
        function = computation.function
        if row is not None and row.mnemonic in _AND and self._leaves[of[0]] & self._leaves[of[1]]:
            # Bits of a value are told apart by what is made of the value itself.
            function = _without_loss(function)
        return self._add(_Step(of, function, all(constant), factor))

    def _rounded(self, word: int, place: Place) -> int:
        """A quotient by a power of 2, rounded to zero: ``addze`` behind the shift, as one term."""
        section, offset = place
        words = self._slices.words[section]
        start = self._slices.graph.block_at(place).start
        for at in range(offset - 4, start - 4, -4):
            row = find(words[at >> 2])
            if row is None or row.mnemonic in _CARRYING or semantics.is_call(words[at >> 2]):
                break
        else:
            raise _NotKnown
        shift = words[at >> 2]
        made = self._sums.at(word >> 16 & 31, place)
        if row is None or row.mnemonic not in ("srawi", "sradi"):
            raise _NotKnown
        if made != Definition((section, at), shift >> 16 & 31):
            raise _NotKnown
        bits = shift >> 11 & 31 | (shift & 2) << 4 if row.mnemonic == "sradi" else shift >> 11 & 31
        return self._add(
            _Step(
                (self._node(made), self._of(shift >> 21 & 31, (section, at))),
                lambda quotient, of: (quotient + (of < 0 and of & (1 << bits) - 1 != 0), False),
                is_constant=False,
                factor=-1,
            )
        )

    def _is_constant(self, term: int) -> bool:
        found = self._terms[term]
        if isinstance(found, _Step):
            return found.is_constant
        return isinstance(found, _Leaf) and found.lowest == found.highest

    def _is_part_of_rest(self, one: int, two: int) -> bool:
        """Whether one of two factors is a quotient by the other."""
        for quotient, divisor in ((one, two), (two, one)):
            found = self._terms[quotient]
            if isinstance(found, _Step) and len(found.of) == 2 and found.of[1] == divisor:
                return found.function in arithmetic.DIVISIONS
        return False


def _without_loss(function: Callable[..., arithmetic.Outcome]) -> Callable[..., arithmetic.Outcome]:
    return lambda *values: (function(*values)[0], False)


_AND = ("and", "andc", "nand")
_LEFT = ("slw", "sld")
_CARRYING = frozenset(
    ("addic", "addic.", "subfic", "addc", "subfc", "adde", "subfe", "addme", "subfme", "addze")
    + ("subfze", "sraw", "srawi", "srad", "sradi", "addex", "mtspr", "mcrxr", "mcrxrx")
)
"""What writes the carry."""


# -- trials ----------------------------------------------------------------------------------------


def _run(terms: Sequence[_Term], values: Sequence[int], end: int, meter: _Meter) -> int:
    """What the last of ``terms`` is with ``values``: a leaf's number, or which one is chosen.

    ``end`` is how many bytes the table has; what it costs is taken off ``meter``.  Raises `_Unfit`
    where something is lost, unless that is made of a product with a factor that is larger.
    """
    meter.left -= len(terms)
    held: list[int] = []
    wraps: list[bool] = []
    for term, value in zip(terms, values, strict=True):
        if isinstance(term, _Leaf):
            number = instruction.signed_field(value, 64)
            held.append(min(max(number, term.lowest), term.highest))
            wraps.append(False)
        elif isinstance(term, _Choice):
            chosen = term.of[value % len(term.of)]
            held.append(held[chosen])
            wraps.append(wraps[chosen])
        else:
            result, is_lost = term.function(*[held[one] for one in term.of])
            may_wrap = not term.is_constant and (
                (term.factor >= 0 and abs(held[term.factor]) > end)
                or any(wraps[one] for one in term.of)
            )
            if is_lost and not term.is_constant and not may_wrap:
                raise _Unfit
            held.append(result)
            wraps.append(may_wrap)
    return held[-1]


def _trials(terms: Sequence[_Term], missing: set[int], meter: _Meter) -> Iterator[Sequence[int]]:
    """Numbers to try: small ones, powers of two, where each of ``missing`` may be, any."""
    free = [
        at
        for at, term in enumerate(terms)
        if isinstance(term, _Choice) or (isinstance(term, _Leaf) and term.lowest < term.highest)
    ]
    base = [0] * len(terms)
    most = len(missing)
    for at in free:
        for number in _simple(most):
            yield _with(base, at, number)
            yield _with([1] * len(terms), at, number)
    for at in free:
        for wanted in sorted(missing)[:256]:
            yield from _towards(terms, _with(base, at, 0), at, wanted, meter)
    state = 1
    for _ in range(_MOST_RANDOM):
        values = list(base)
        for at in free:
            state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
            kind, number = state >> 60, state >> 33 & 0x7FFFFFF
            values[at] = number % (9, most + 2)[kind & 1] if kind < 12 else number << (kind & 3) * 8
        yield values


def _with(values: Sequence[int], at: int, number: int) -> list[int]:
    changed = list(values)
    changed[at] = number
    return changed


def _simple(most: int) -> Iterator[int]:
    yield from range(most + 2)
    yield from range(-1, -most - 2, -1)
    for shift in range(1, 64):
        yield from ((1 << shift) - 1, 1 << shift)
    for shift in range(1, 64):
        yield from (number << shift for number in range(min(most, 64)))


def _towards(
    terms: Sequence[_Term], values: list[int], at: int, wanted: int, meter: _Meter
) -> Iterator[Sequence[int]]:
    """Where a number of which the index grows makes ``wanted``: halved again and again."""
    for bits in (8, 16, 32, 63):
        low, high = 0, 1 << bits
        while low < high and meter.left >= 0:
            values[at] = (low + high) // 2
            try:
                found = _run(terms, values, 0, meter)
            except (_Unfit, ZeroDivisionError):
                found = wanted + 1
            if found == wanted:
                yield values
                return
            low, high = (values[at] + 1, high) if found < wanted else (low, values[at])
