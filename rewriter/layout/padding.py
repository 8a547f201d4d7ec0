"""Padding in code: what is aligned, to what, and which words are only there for that.

The problem: the object doesn't say where the source had an alignment directive.  Shifting
everything by four would lose the alignment of every function behind the first nop; taking a real
nop for padding would change code.

The rule: words between functions are judged by `layout.gaps`; they are padding when nothing refers
into them but what says where a function ends.  Whatever is inferred, code stays correct; what a
wrong guess costs is a no-op.

Data that a hand wrote behind a function, and named, is judged by its own gap: what loads vectors
from there counts on its alignment.

Inside functions, words in front of what a branch, a table entry or a relocation leads to are
padding under the same conditions; long runs without a jump over them only where LLVM wrote them.

Source: binutils, gas/config/tc-ppc.c (ppc_handle_align); gABI 4, sh_addralign.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.layout.gaps import (
    FUNCTION_ALIGNMENT,
    LABEL_ALIGNMENT,
    TRAP,
    accounted_alignment,
    aligned_by_llvm,
    function_alignments,
    function_gaps,
    kept_in_front,
    passable,
    smallest,
    traps_fill,
)
from nopfix.rewriter.layout.layout import PREFIXED_BOUNDARY, Alignment
from nopfix.rewriter.power import instruction
from nopfix.rewriter.power.fill import LONG_PADDING, fill_style, needs_power9
from nopfix.rewriter.power.instruction import (
    BCTR,
    GROUP_ENDS,
    GROUP_NOPS,
    NOP,
    branch,
    branch_displacement,
)
from nopfix.rewriter.proof.analysis import SWITCH_TABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence, Set

    from nopfix.rewriter.layout.plan import Code
    from nopfix.rewriter.object.claims import Claims
    from nopfix.rewriter.object.program import Functions, Program
    from nopfix.rewriter.power.fill import Style
    from nopfix.rewriter.proof.analysis import Analysis, Region


class Origin(Record):
    """What an object says of who wrote it.

    ``is_llvm``: LLVM's assembler, which jumps over no padding.  ``functions`` is the alignment, in
    bytes, that the compiler was told to give functions; 0 where that isn't said.
    """

    is_llvm: bool = False
    functions: int = 0


def find(
    program: Program,
    section: Code,
    analysis: Analysis,
    claims: Claims,
    planned: Collection[int],
    origin: Origin,
) -> list[Alignment]:
    """Everything in one section that is aligned, with its padding, in no particular order.

    ``claims`` are who names places in ``section``, ``planned`` the offsets in bytes at which slots
    go in.
    """
    number, found = section
    words, alignment = program.words(number), program.obj.sections[number].alignment
    functions, regions = program.bodies_in(number), analysis.regions.get(number, ())
    tables = table_alignments(words, regions)
    branched = {target for _, target in found.branches}
    ends = _ends(program, number, functions, claims, branched)
    kept = claims.named.keys() - ends | claims.held
    slots = {place + 4 for place in found.calls}.difference(planned)
    addressed = (target for _, target in found.relative)
    entered = branched.union(analysis.targets.get(number, ()))
    labels = entered.union(claims.named, addressed)
    by_grid = aligned_by_llvm(found.branches) if origin.is_llvm else labels
    accounted = accounted_alignment(by_grid.difference(functions.starts), tables)
    gaps = function_gaps(words, functions, regions, kept, found, entered)
    aligned = list(tables)
    for own in _by_declaration(gaps, functions, program.functions_in(number)):
        judged = function_alignments(own, alignment, accounted, origin.functions)
        aligned += passable(words, judged)
    aligned += _named_alignments(program, number, functions, kept, entered)
    aligned = _once(aligned + _claimed_alignments(words, claims, slots, labels))
    labels.difference_update(a.start for a in aligned)
    labels = _behind_code(labels, regions)
    last_word = last_word_of(words, aligned)
    if last_word in GROUP_ENDS:
        aligned = [_of_the_linker(words, gap) for gap in aligned]
    loops = {target for place, target in found.branches if target < place}
    places = Labels(labels, loops, kept, slots, _probes(program, claims, functions))
    inner = label_alignments(words, places, alignment, last_word)
    if origin.is_llvm:
        inner = _as_llvm_aligns(inner, by_grid)
    else:
        inner = [label for label in inner if jumps_over(words, [label]) is not False]
    aligned += inner
    taken = {a.start for a in aligned}
    prefixed = prefixed_alignments(words, found.prefixed, slots | kept)
    return aligned + [a for a in prefixed if a.start not in taken]


_PROBES = frozenset(("__jump_table", ".note.stapsdt"))
"""Sections that name no-ops that are patched one by one: what is behind one isn't theirs."""


def _probes(program: Program, claims: Claims, functions: Functions) -> Set[int]:
    """The places within functions that a probe or a static key names."""
    return {
        place
        for place, reason in claims.named.items()
        if isinstance(reason, tuple)
        and program.name(reason[0]) in _PROBES
        and functions.start(place) is not None
    }


def _behind_code(labels: Iterable[int], regions: Sequence[Region]) -> set[int]:
    """Those of ``labels`` with no data directly in front, which may look like padding."""
    starts = [region.start for region in regions]
    found = set()
    for label in labels:
        index = bisect_left(starts, label) - 1
        if index < 0 or label > regions[index].end:
            found.add(label)
    return found


def _by_declaration(
    gaps: Sequence[Alignment], bodies: Functions, declared: Functions
) -> tuple[list[Alignment], list[Alignment]]:
    """``gaps`` in front of functions that are ``declared``, which a compiler aligns all alike, and
    those in front of the others among ``bodies``.
    """
    starts = frozenset(declared.starts)
    own: tuple[list[Alignment], list[Alignment]] = ([], [])
    for gap in gaps:
        start = bodies.starts[bisect_left(bodies.starts, gap.start)]
        own[start not in starts].append(gap)
    return own


def _ends(
    program: Program,
    section: int,
    functions: Functions,
    claims: Claims,
    branched: Collection[int],
) -> Set[int]:
    """Where functions end, and what names that place only says that they do.

    That is a label without a size (``f_end:``), whatever its type, or data that holds the address:
    there gas's own padding has to lie behind, which nothing goes on to.
    """
    symbols, words = program.obj.symbols, program.words(section)
    found = set()
    for start, end in zip(functions.starts, functions.ends, strict=True):
        reason = claims.named.get(end)
        if reason is None or end in claims.run or start == end:
            continue
        if isinstance(reason, int):
            is_end = not symbols.sizes[reason]
        else:
            is_end = end not in branched and _is_dead_padding(words, end)
        if is_end:
            found.add(end)
    return found


def _is_dead_padding(words: Sequence[int], place: int) -> bool:
    """Whether gas's padding for a processor that groups instructions begins at ``place``, which is
    behind an instruction that goes elsewhere.
    """
    index = place >> 2
    if place & 3 or not 0 < index < len(words) or not instruction.goes_elsewhere(words[index - 1]):
        return False
    jump = branch_displacement(words[index]) or 0
    end = index + (jump >> 2)
    if jump <= 0:
        end = next((at for at in range(index, len(words)) if words[at] != NOP), index) + 1
    style = fill_style(words[index:end])
    return style is not None and style.last in GROUP_ENDS


def _claimed_alignments(
    words: Sequence[int], claims: Claims, slots: Collection[int], labels: Collection[int]
) -> list[Alignment]:
    """The places whose patcher needs them aligned, each with the nop in front that may do it."""
    found = []
    for start, alignment in claims.aligned.items():
        pad = start - 4
        elastic = (
            pad >= 0
            and alignment == 8
            and words[pad >> 2] == NOP
            and not any(pad in taken for taken in (slots, labels, claims.named, claims.held))
        )
        if start % alignment == 0 and 0 <= start < 4 * len(words):
            found.append(Alignment(pad if elastic else start, start, alignment))
    return found


def _named_alignments(
    program: Program,
    section: int,
    functions: Functions,
    kept: Set[int],
    entered: Collection[int],
) -> list[Alignment]:
    """What a symbol that is no function's names behind padding that follows a function's end."""
    words = program.words(section)
    found = []
    for start in dict.fromkeys(program.symbols_in(section)[0]):
        index = bisect_right(functions.starts, start) - 1
        if index < 0 or functions.starts[index] == start:
            continue
        end = functions.ends[index] + 3 & ~3
        # What a symbol says is bounded by nothing.
        if not functions.starts[index] < end < start <= 4 * len(words) or start % 4:
            continue
        own = words[end >> 2 : start >> 2]
        is_filler = fill_style(own) is None
        if (is_filler and len(set(own)) > 1) or not kept.isdisjoint(range(end, start, 4)):
            continue
        gap = Alignment(end, start, 1)
        alignment = smallest([gap], program.obj.sections[section].alignment)
        if alignment <= 4:
            continue
        if is_filler and own[0] == TRAP and not traps_fill(words, gap, entered):
            continue
        if is_filler and own[0] != TRAP:
            found.append(kept_in_front(gap, alignment))
        else:
            found.append(gap._replace(alignment=alignment, filler=TRAP if is_filler else None))
    return found


def _once(aligned: Iterable[Alignment]) -> list[Alignment]:
    """``aligned`` with what is found twice kept once, by the coarser alignment."""
    found: dict[int, Alignment] = {}
    for one in aligned:
        known = found.get(one.start)
        if known is None or known.alignment < one.alignment:
            found[one.start] = one
    return list(found.values())


def table_alignments(words: Sequence[int], regions: Sequence[Region]) -> list[Alignment]:
    """Tables in code that are aligned to more than a word, with the pad word behind ``bctr``."""
    aligned = []
    for region in regions:
        if region.kind != SWITCH_TABLE or region.alignment <= 4:
            continue
        index = region.start >> 2
        padded = index >= 2 and words[index - 2] == BCTR and fill_style(words[index - 1 : index])
        start = region.start
        aligned.append(Alignment(start - 4 if padded else start, start, region.alignment))
    return aligned


def prefixed_alignments(
    words: Sequence[int], prefixed: Sequence[int], slots: Collection[int]
) -> list[Alignment]:
    """Prefixed instructions, each with the nop that keeps it off a 64-byte boundary.

    ``slots`` are the offsets of nops that are slots of calls, or somebody else's, and must stay.
    """
    aligned = []
    for place in prefixed:
        pad = place - 4
        elastic = (
            pad >= 0
            and pad % PREFIXED_BOUNDARY == PREFIXED_BOUNDARY - 4
            and words[pad >> 2] == NOP
            and pad not in slots
        )
        aligned.append(Alignment(pad if elastic else place, place, 0))
    return aligned


def last_word_of(words: Sequence[int], gaps: Sequence[Alignment]) -> int | None:
    """The word that ends padding in this section, as seen in its gaps; None without one.

    A gap of plain no-ops beside others that end otherwise is what ``ld -r`` put between the
    sections of two objects.
    """
    lasts = {style.last for style in _styles(words, gaps)}
    return next((word for word in lasts if word in GROUP_ENDS), NOP if NOP in lasts else None)


def _of_the_linker(words: Sequence[int], gap: Alignment) -> Alignment:
    """``gap``, told to be filled with plain no-ops again where it is."""
    own = words[gap.padding >> 2 : gap.start >> 2]
    is_plain = gap.filler is None and len(own) > 0 and own.count(NOP) == len(own)
    return gap._replace(filler=NOP) if is_plain else gap


def jumps_over(words: Sequence[int], gaps: Sequence[Alignment]) -> bool | None:
    """Whether long padding in this section begins with a jump over it; None without any."""
    shown = (gap for gap in gaps if gap.start - gap.padding > LONG_PADDING)
    return next((style.jumps for style in _styles(words, shown)), None)


def _styles(words: Sequence[int], gaps: Iterable[Alignment]) -> Iterator[Style]:
    for gap in gaps:
        style = fill_style(words[gap.padding >> 2 : gap.start >> 2])
        if style is not None:
            yield style


def newest_group_nop(words: Sequence[int], regions: Sequence[Region]) -> int | None:
    """The word that ends padding, told from the processor that the code needs; None if it isn't.

    From power9 on the assembler pads with plain nops.  ``regions`` are the data in the section.
    """
    start = 0
    for end, following in [*((r.start, r.end) for r in regions), (4 * len(words), 0)]:
        run = words[start >> 2 : end >> 2]
        if any(map(needs_power9, run)):
            return NOP
        start = following + 3 & ~3
    return None


def tells_power9(strings: bytes | memoryview) -> bool:
    """Whether a compiler's options, kept in .debug_str, name such a processor."""
    text = bytes(strings)
    return b"-mcpu=power9" in text or b"-mcpu=power1" in text


_ALIGN_FUNCTIONS = (b"-falign-functions=", b"-fmin-function-alignment=")


def told_alignment(strings: bytes | memoryview) -> int:
    """The alignment that a compiler's options, kept in .debug_str, give functions; 0 without one.

    What isn't a power of 2 (``24``, ``32:16``) aligns some functions and others not.
    """
    text = bytes(strings)
    for option in _ALIGN_FUNCTIONS:
        at = text.find(option) + len(option)
        if at < len(option):
            continue
        digits = text[at : at + 6].replace(b"\0", b" ").split()[:1]
        number = int(digits[0]) if digits and digits[0].isdigit() else 0
        if number > 0 and not number & number - 1:
            return number
    return 0


DEFAULT_GROUP_NOP = GROUP_NOPS["power7"]
"""What the assembler ends padding with for its default processor (binutils 2.40)."""


class Labels(Record):
    """Section offsets, in bytes, of what matters for padding inside functions.

    ``entered`` is what something leads to, ``loops`` what a branch behind it leads to.  ``kept``
    are words that somebody has a claim to, ``probes`` those of them that are patched one by one,
    ``slots`` the nops that belong to calls.
    """

    entered: Collection[int]
    loops: Collection[int] = ()
    kept: Collection[int] = ()
    slots: Collection[int] = ()
    probes: Collection[int] = ()


_COARSEST = 256
"""What labels are aligned to at most, in bytes: two of POWER's cache lines."""


def label_alignments(
    words: Sequence[int], labels: Labels, section_alignment: int, last_word: int | None
) -> list[Alignment]:
    """Labels inside functions that were padded into place, with their padding.

    The alignment to restore is what the label had, up to that of the section and to that of loops,
    or to more where the padding of one shows that the compiler was told so (``-falign-labels=64``).
    A nop that somebody claims is code, and so is a run of nops longer than padding could be, and in
    a section whose functions are padded with another ``last_word``.
    """
    most = min(section_alignment, _COARSEST)
    aligned = _aligned_labels(words, labels, most, last_word)
    longest = max((a.start - a.padding for a in aligned), default=0)
    limit = LABEL_ALIGNMENT
    while limit <= longest:
        limit *= 2
    if limit < most:
        aligned = _aligned_labels(words, labels, limit, last_word)
    return _jumps_alike(aligned, labels.loops)


def _aligned_labels(
    words: Sequence[int], labels: Labels, limit: int, last_word: int | None
) -> list[Alignment]:
    """The same where labels are aligned to ``limit`` bytes at most."""
    aligned: list[Alignment] = []
    if limit < FUNCTION_ALIGNMENT:
        return aligned
    apart = frozenset(labels.slots).union(labels.probes)
    kept = frozenset(labels.kept).difference(labels.probes)
    for label in sorted(label for label in labels.entered if not label % FUNCTION_ALIGNMENT):
        if not 4 <= label <= 4 * len(words):
            continue
        alignment = min(label & -label, limit)
        if last_word is not None and words[(label >> 2) - 1] != last_word:
            continue
        start = _padding_start(words, label, apart, alignment)
        if not kept.isdisjoint(range(start, label, 4)):
            continue
        # A way may lead to what the padding begins with, as to a label in front of a loop's.
        ways = [place for place in range(start + 4, label, 4) if place in labels.entered]
        if ways and fill_style(words[ways[-1] >> 2 : label >> 2]) is not None:
            start = ways[-1]
        elif ways:
            continue
        if start < label:
            aligned.append(Alignment(start, label, alignment))
    return aligned


def _jumps_alike(aligned: Sequence[Alignment], loops: Collection[int]) -> list[Alignment]:
    """``aligned`` with those that begin no loop judged together.

    Compilers align all of them alike, unlike loops: what one of them shows not to be aligned to is
    chance for the others too, unless a padding is too long for anything less.
    """
    jumps = [a for a in aligned if a.start not in loops]
    common = min((a.alignment for a in jumps), default=0)
    return [
        a._replace(alignment=common) if a.start not in loops and a.start - a.padding < common else a
        for a in aligned
    ]


def _as_llvm_aligns(aligned: Sequence[Alignment], loops: Collection[int]) -> list[Alignment]:
    """``aligned`` with those that aren't among ``loops`` (`aligned_by_llvm`) aligned to 16, unless
    the padding of one shows that LLVM was told of more (``-falign-loops``).
    """
    others = [a for a in aligned if a.start not in loops]
    if any(a.start - a.padding >= FUNCTION_ALIGNMENT for a in others):
        return list(aligned)
    return [
        a if a.start in loops else a._replace(alignment=min(a.alignment, FUNCTION_ALIGNMENT))
        for a in aligned
    ]


def _padding_start(words: Sequence[int], label: int, slots: Collection[int], alignment: int) -> int:
    """Where the padding in front of ``label`` begins; ``label`` itself where there is none."""
    end = label >> 2
    first = end - 1
    if words[first] not in instruction.NO_OPERATIONS:
        return label
    most = min(alignment // 4 - 1, end)
    while end - first < most and words[first - 1] == NOP and first << 2 not in slots:
        first -= 1
    if first << 2 in slots:
        first += 1
    elif first and words[first - 1] == NOP and (first - 1) << 2 not in slots:
        return label  # too many: somebody wrote these
    elif end - first < most and words[first - 1] == branch(4 * (end - first + 1)):
        first -= 1
    return first << 2 if first < end and fill_style(words[first:end]) is not None else label
