"""Distances that no relocation marks, where something tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    Variants = Callable[..., tuple[bytes, bytes]]

FRAME = """
    .text
    .globl f
    .type f, @function
f:  mflr 11
    BODY
    mtlr 11
    blr
BEHIND
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    DATA
"""


def rules(body: str, behind: str, data: str, variants: Variants) -> set[str]:
    source = FRAME.replace("BODY", body).replace("BEHIND", behind).replace("DATA", data)
    old, new = variants(source)
    assert old != new
    return {difference.rule for difference in verify(old, new).differences}


COUNTER = "bcl 20,31,$+4\n.Lpc: mflr 31\n "


@pytest.mark.parametrize(
    ("body", "stale"),
    [
        ("bl g\n SLOT\n lwz 3,36(31)", True),  # .Lend, if it were not for the slot
        ("bl g\n SLOT\n ld 3,36(31)", True),
        ("bl g\n SLOT\n addi 3,31,36", True),
        ("lwz 3,4(31)\n bl g\n SLOT", False),  # no slot in between
        ("bl g\n SLOT\n li 31,0\n lwz 3,36(31)", False),  # no longer the counter
        ("bl g\n SLOT\n lwz 3,1000(31)", False),  # nothing is there
    ],
)
def test_what_is_read_at_a_distance_from_the_program_counter(
    body: str, stale: bool, variants: Variants
) -> None:
    found = rules(COUNTER + body, ".Lend: .long 4711,1,2,3,4", "", variants)
    assert found == ({"distance"} if stale else set())


@pytest.mark.parametrize("counter", [COUNTER, COUNTER.replace("bcl 20,31,$+4", "bl .+4")])
@pytest.mark.parametrize(
    "reads",
    [
        "addis 4,31,0\n addi 4,4,DISTANCE",
        "addis 4,31,0\n lwz 4,DISTANCE(4)",
        "mr 30,31\n addi 4,30,DISTANCE",
        "addic 4,31,DISTANCE",
        "li 5,DISTANCE\n lwzx 4,31,5",
        "li 5,DISTANCE\n stdx 4,5,31",
        "lis 5,0\n addi 5,5,DISTANCE\n add 4,5,31",
        "li 5,-DISTANCE\n subf 4,5,31",
        "lxv 1,32(31)",
        "lxsd 1,DISTANCE(31)",
    ],
)
def test_what_is_made_of_the_program_counter_is_followed(
    reads: str, counter: str, variants: Variants
) -> None:
    """36 bytes lead behind the function's end, if it were not for the slot."""
    body = f"{counter}bl g\n SLOT\n {reads}"
    source = FRAME.replace("BODY", body).replace("BEHIND", ".rept 9\n.long 4711\n.endr")
    old, new = variants(source.replace("DATA", ""), "-mpower9", DISTANCE=("36", "36"))
    assert {found.rule for found in verify(old, new).differences} == {"distance"}


@pytest.mark.parametrize(
    "reads", ["lwz 31,0(4)\n addi 4,31,36", "li 5,36\n mr 31,4\n lwzx 4,31,5", "std 31,36(4)"]
)
def test_what_no_longer_is_the_program_counter_is_not(reads: str, variants: Variants) -> None:
    body = f"{COUNTER}bl g\n SLOT\n {reads}"
    source = FRAME.replace("BODY", body).replace("BEHIND", ".rept 9\n.long 4711\n.endr")
    assert verify(*variants(source.replace("DATA", ""))).verified


@pytest.mark.parametrize(
    ("behind", "stale"), [(".long elsewhere-.Lpc", True), (".long elsewhere-.", False)]
)
def test_a_distance_in_code_to_what_is_elsewhere_follows_its_base(
    behind: str, stale: bool, variants: Variants
) -> None:
    """The assembler's is right; IN's own, moved, isn't."""
    source = FRAME.replace("BODY", COUNTER + "bl g\n SLOT").replace("DATA", "")
    source = source.replace("BEHIND", behind + "+MORE")
    assert verify(*variants(source, MORE=("0", "0"))).verified
    assert not verify(*variants(source, MORE=("0", "-4" if stale else "4"))).verified


LABELS = "bl g\n SLOT\n.La: mr 3,4\n bl g\n SLOT\n mr 3,4\n.Lb: mr 3,4\n mtctr 3\n bctr"


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (".quad .La, .Lb-.La, .Lb", {"distance"}),
        (".long .Lb-.La, 0\n .quad .La, .Lb", {"distance"}),
        (".quad .La, 99, .Lb", set()),
        (".quad .La, .Lb, 0, .Lb-.La", set()),  # not beside the first one's address
        (".quad g, 4, f", set()),  # no labels
        (".quad .La+77", {"relocation"}),
        (".quad .La, .Lb", set()),
    ],
)
def test_numbers_beside_addresses_of_labels(
    contents: str, expected: set[str], variants: Variants
) -> None:
    """IN's own numbers, as nothing says what they are."""
    data = f'.section .data.rel.ro.local,"aw"\n.type t, @object\nt: {contents}\n.size t, .-t'
    data = data.replace(".Lb-.La", "12")
    assert rules(LABELS, "", data, variants) == expected


#: A prefixed instruction in front of a call, which reaches what is behind it.
PREFIXED = """
    .text
    .type g, @function
g:  blr
    .size g, .-g
    .p2align 6
    .type f, @function
f:  mflr 0
    .rept COUNT
    mr 3,4
    .endr
    bl g
    SLOT
    READS
    bl g
    SLOT
    mtlr 0
    blr
    .size f, .-f
    .type k, @function
k:  .quad 1, 2
    .size k, .-k
"""


@pytest.mark.parametrize("count", ["1", "12", "13"])
@pytest.mark.parametrize(
    "reads",
    [
        *("pld 3,k+MORE@pcrel", "pla 3,k+8+MORE@pcrel", "plwa 4,k+MORE@pcrel"),
        *("pstd 4,k+MORE@pcrel", "plxv 3,k+MORE@pcrel", "pla 3,g+MORE@pcrel"),
    ],
)
def test_what_a_prefixed_instruction_reaches_from_its_own_place_is_where_it_went(
    reads: str, count: str, variants: Variants
) -> None:
    """Where it crosses 64 bytes in OUT or in IN, a nop comes or goes."""
    source = PREFIXED.replace("READS", reads).replace("COUNT", count)
    for more, expected in (("0", set()), ("4", {"displacement"}), ("-4", {"displacement"})):
        old, new = variants(source, "-mpower10", MORE=("0", more))
        assert {difference.rule for difference in verify(old, new).differences} == expected


def test_a_prefixed_instruction_is_otherwise_as_it_was(variants: Variants) -> None:
    source = PREFIXED.replace("READS", "pld REGISTER,k@pcrel").replace("COUNT", "1")
    old, new = variants(source, "-mpower10", REGISTER=("3", "4"))
    assert {difference.rule for difference in verify(old, new).differences} == {"displacement"}


# A switch's table in data; BASE is what its numbers count from.
TABLE = """
    .text
    .globl f
    .type f, @function
f:  mflr 11
    READ
    addis 6,2,.Lt@toc@ha
    addi 6,6,.Lt@toc@l
    lwax 3,3,6
    add 3,3,5
    mtctr 3
    bctr
.La: bl g
    SLOT
.Lb: bl g
    SLOT
.Lc: mtlr 11
    blr
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    .section .rodata
    .long 8, 12
.Lt: .long NUMBERS
    BEHIND
"""
READS = {
    "the program counter": ("bl .+4\n.Lp: mflr 5", ".Lp"),
    "a label": ("addis 5,2,.La@toc@ha\n addi 5,5,.La@toc@l", ".La"),
}


LAYOUTS = {
    "numbers alone": ".La-BASE, MIDDLE, .Lc-BASE",
    "in structures": "7, .La-BASE, 9, MIDDLE, 2, .Lc-BASE",
}


def table(
    read: str,
    variants: Variants,
    middle: str = ".Lb-BASE",
    behind: tuple[str, str] = ("", ""),
    layout: str = "numbers alone",
) -> set[str]:
    source = TABLE.replace("NUMBERS", LAYOUTS[layout]).replace("MIDDLE", middle)
    for name, text in zip(("READ", "BASE"), READS[read], strict=True):
        source = source.replace(name, text)
    old, new = variants(source, BEHIND=behind)
    assert old != new
    return {difference.rule for difference in verify(old, new).differences}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("read", READS)
def test_a_table_of_distances_in_data_follows_its_labels(
    read: str, layout: str, variants: Variants
) -> None:
    assert table(read, variants, layout=layout) == set()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("read", READS)
def test_a_number_of_a_table_that_is_stale_is_seen(
    read: str, layout: str, variants: Variants
) -> None:
    stale = {"the program counter": "36", "a label": "4"}[read]
    assert table(read, variants, stale, layout=layout) == {"contents"}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "behind",
    [(".long 7", ".long 8"), (".Lu: .long 8,8", ".Lu: .long 8,12"), (".byte 1", ".byte 2")],
)
def test_numbers_that_are_no_tables_are_as_they_were(
    read: str, behind: tuple[str, str], variants: Variants
) -> None:
    assert table(read, variants, behind=behind) == {"contents"}


def test_a_number_that_may_lead_to_a_calls_nop_does_not_take_it_away(variants: Variants) -> None:
    """.Lk is no label: the number is another one that happens to lead there."""
    read, base = READS["a label"]
    source = TABLE.replace("NUMBERS", LAYOUTS["numbers alone"]).replace("MIDDLE", ".Lb-BASE")
    source = source.replace("READ", f"bl g\n.Lk: nop\n {read}").replace("BASE", base)
    old, new = variants(source, BEHIND=(".long .Lk-.La",) * 2)
    assert verify(old, new, need_slots=True).differences == ()


#: What assembly says of its own code in numbers: a function's length, and a place in it.
BY_HAND = """
    .text
    .globl f
    .type f, @function
f:  mflr 0
.Lplace: bl g
    SLOT
.Lbehind: mtlr 0
    blr
.Lend:
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    TEXT
"""


@pytest.mark.parametrize(
    ("text", "verified"),
    [
        # gas itself has another number in OUT, which no one could tell from a wrong one.
        ("\n.set f_size, .Lend-f\n.globl f_size", False),
        ("\n.set f_size, 16\n.globl f_size", False),
        ("\n.set size, 16\n.globl size", False),
        ("\n.set f_behind, 8\n.globl f_behind", False),
        ("\n.set at.f, 8\n.globl at.f", False),
        ("\n.set f_place, 4\n.globl f_place", True),
        ("\n.set behind, 8\n.globl behind", True),
        ("\n.set off_behind, 8\n.globl off_behind", True),
        ("\n.set f_flags, 0x10000\n.globl f_flags", True),
        (".data\n .quad f, 16", False),
        (".data\n .quad f\n .long 16", False),
        (".data\n .quad 16, f", False),
        (".data\n .quad f, 12", True),
        (".data\n .quad g, 4", True),
        ('.data\n .quad f, 16\n .section .comment\n .string "GCC"', True),
    ],
)
def test_a_number_that_may_be_a_functions_length_is_none_that_can_be_verified(
    text: str, verified: bool, variants: Variants
) -> None:
    assert verify(*variants(BY_HAND.replace("TEXT", text))).verified == verified
