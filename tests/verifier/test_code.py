"""What may differ in code: slots, padding, and what belongs to somebody else.

Each text is assembled as IN and as OUT (`variants`); where OUT is what the assembler makes of the
same source with a nop behind each call that needs one, it is right, and else it has one fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from nopfix import rewrite
from nopfix.verifier import elf, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Assemble

    Variants = Callable[..., tuple[bytes, bytes]]


class Case(NamedTuple):
    source: str
    #: What OUT has in place of a word of the text that is nothing (or another word) in IN.
    words: dict[str, tuple[str, str]]
    right: bool


def right(source: str, **words: tuple[str, str]) -> Case:
    return Case(source, words, True)


def wrong(source: str, **words: tuple[str, str]) -> Case:
    return Case(source, words, False)


BAD = ("", "nop")
GONE = ("nop", "")

#: A function that calls; BODY is its inside, and `g` what it calls.
FRAME = """
    .text
    .type g, @function
g:  blr
    .size g, .-g
    .p2align 4
    .globl f
    .type f, @function
f:  mflr 0
    std 0,16(1)
    stdu 1,-64(1)
    BODY
    addi 1,1,64
    ld 0,16(1)
    mtlr 0
    blr
    .size f, .-f
"""


def inside(body: str, more: str = "") -> str:
    return FRAME.replace("BODY", body) + more


MORESTACK = inside(
    "bl g\n SLOT\n ld 5,-28736(13)\n cmpld 7,1,5\n bge 7,.Lbody\n mflr 0\n std 0,16(1)\n"
    " bl __morestack\n BAD\n ld 0,16(1)\n mtlr 0\n blr\n.Lbody: bl g\n SLOT"
)
OVER_DATA = inside("bl g\n SLOT\n bl 1f\n BAD\n .long h-.\n1: mflr 3\n lwz 4,0(3)")
NONE_AT_BRANCH = inside(
    ".Lloop: bl g\n SLOT\n cmpwi 3,5\n .reloc ., R_PPC64_NONE, keep\n blt .Lloop+STALE"
)
OBJECT = inside(
    "bl g\n SLOT",
    ".type words, @object\nwords: .long 0x7c0802a6, 0x48000001\n BAD\n .long 0x4bfffff9\n"
    ".size words, .-words\n",
)
#: Words behind a branch that doesn't go on: the one looks like `b .-16`, the other like a call.
UNENTERED = inside("bl g\n SLOT\n mr 3,4\n JUMP\n NAME .long WORD\n.Lover: mr 5,6\n bl g\n SLOT")
#: A nop that is named from outside, in front of an aligned loop. With a COUNT of 7 the loop needs
#: no padding in IN, with less it needs some.
BEFORE_LOOP = inside(
    "bl g\n SLOT\n .rept COUNT\n mr 3,4\n .endr\n OWN\n NAME\n PROBE\n .p2align 4\n"
    ".Lloop: addi 3,3,1\n cmpwi 3,5\n blt .Lloop"
)
#: The same right behind a call.
BEHIND_CALL = inside("bl g\n SLOT\n NAME\n PROBE\n addi 3,3,1\n bl g\n SLOT")

PROBE = '9: .pushsection .note.probes,"",@note\n .quad 9b\n .popsection'
PATCH_SITE = '9: .pushsection .rodata,"a"\n patch__x: .4byte 9b-.\n .popsection'
FEATURE = (
    '9: .pushsection __ftr_fixup,"a"\n 8: .quad 1,1,9b-8b,9b+4-8b,7f-8b,7f-8b\n .popsection\n'
    ' .pushsection __ftr_alt,"ax"\n 7: .popsection'
)
NAMES = {"probe": PROBE, "patch site": PATCH_SITE, "feature section": FEATURE}

LANDING_PAD = """
    .text
    .globl f
    .type f, @function
f:  .cfi_startproc
    .cfi_personality 0x9b,DW.ref.p
    .cfi_lsda 0x1b,.Llsda
.Lb: bl g
    SLOT
.Le:
.Lp: nop
    bl g
    LAST
    blr
    .cfi_endproc
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    .section .gcc_except_table,"a",@progbits
.Llsda: .byte 0xff,0xff,1
    .uleb128 .Lce-.Lcs
.Lcs: .uleb128 .Lb-f
    .uleb128 .Le-.Lb
    .uleb128 .Lp-f
    .uleb128 0
.Lce:
    .section .data.DW.ref.p,"aw"
DW.ref.p: .quad __gcc_personality_v0
"""

#: The address behind a call that has its nop, in data.
ADDRESS = inside(
    "bl g\n SLOT\n mr 3,4\n bl g\n BEFORE\n.Lx: nop\n JUMP\n addi 3,3,1",
    ".data\nTABLE: .quad 1\n .quad .Lx\n",
)
JUMP = ("mtctr 9\n bctr", "mtctr 9\n bctr")
FRAMES = ("caml_M__frametable", "caml_M__frametable")
UNKNOWN = ("table", "table")
NOTHING = ("", "")

CASES = {
    "nothing goes behind a call of __morestack": right(MORESTACK, BAD=NOTHING),
    "a nop behind a call of __morestack": wrong(MORESTACK, BAD=BAD),
    "nothing goes between a bl and the words that its target reads": right(OVER_DATA, BAD=NOTHING),
    "a nop between a bl and the words that its target reads": wrong(OVER_DATA, BAD=BAD),
    "R_PPC64_NONE fills no branch": right(NONE_AT_BRANCH, STALE=("0", "0")),
    "a stale branch with R_PPC64_NONE": wrong(NONE_AT_BRANCH, STALE=("0", "4")),
    "what an object in code holds stays": right(OBJECT, BAD=NOTHING),
    "a nop inside an object in code": wrong(OBJECT, BAD=BAD),
    "a landing pad's nop isn't the slot": right(LANDING_PAD, LAST=BAD),
    "a landing pad's nop taken for the slot": wrong(LANDING_PAD, SLOT=NOTHING, LAST=BAD),
    "a label's address in data where a branch may read it": right(
        ADDRESS, TABLE=UNKNOWN, JUMP=JUMP, BEFORE=BAD
    ),
    "a label's or a return address in data, nobody can tell": wrong(
        ADDRESS, TABLE=UNKNOWN, JUMP=NOTHING, BEFORE=BAD
    ),
    "a label's or a return address in a variable that no function's name begins": wrong(
        ADDRESS,
        TABLE=(".type fb.b, @object\n .size fb.b, 16\nfb.b",) * 2,
        JUMP=NOTHING,
        BEFORE=BAD,
    ),
    "a return address in a frame table": right(ADDRESS, TABLE=FRAMES, JUMP=NOTHING, BEFORE=NOTHING),
    "a second nop in front of a return address": wrong(
        ADDRESS, TABLE=FRAMES, JUMP=NOTHING, BEFORE=BAD
    ),
}
OVER = ("b .Lover",) * 2
CASES |= {
    "a word that nothing enters stays as it was": right(
        UNENTERED, JUMP=OVER, NAME=NOTHING, WORD=("0x4bfffff0",) * 2
    ),
    "a branch that nothing enters may as well be followed": right(
        UNENTERED, JUMP=OVER, NAME=NOTHING, WORD=("0x4bfffff0", "0x4bffffec")
    ),
    "a branch that nothing enters leads elsewhere": wrong(
        UNENTERED, JUMP=OVER, NAME=NOTHING, WORD=("0x4bfffff0", "0x4bffffe8")
    ),
    "a branch behind one that goes on": wrong(
        UNENTERED, JUMP=("beq .Lover",) * 2, NAME=NOTHING, WORD=("0x4bfffff0",) * 2
    ),
    "a branch that a symbol names": wrong(
        UNENTERED, JUMP=OVER, NAME=("named:",) * 2, WORD=("0x4bfffff0",) * 2
    ),
    "a branch in a function that jumps by CTR": wrong(
        UNENTERED, JUMP=("beq .Lover\n bctr",) * 2, NAME=NOTHING, WORD=("0x4bfffff0",) * 2
    ),
    "a prefix that nothing enters stays as it was": right(
        UNENTERED, JUMP=OVER, NAME=NOTHING, WORD=("0x04100000, 0xe460ffe0",) * 2
    ),
}
for _name in ("b.0", "f.b", "f.b.3", "_ZZ1fvE1b"):
    _table = f".type {_name}, @object\n .size {_name}, 16\n{_name}"
    CASES |= {
        f"a label's address in {_name}, a function's own variable": right(
            ADDRESS, TABLE=(_table,) * 2, JUMP=NOTHING, BEFORE=BAD
        ),
        f"a label's or a return address in {_name}, which others see": wrong(
            ADDRESS, TABLE=(f".globl {_name}\n {_table}",) * 2, JUMP=NOTHING, BEFORE=BAD
        ),
    }
for _what, _name in NAMES.items():
    _same = {"OWN": NOTHING, "NAME": (_name, _name)}
    CASES |= {
        f"the nop of a {_what} stays in front of a loop": right(
            BEFORE_LOOP, PROBE=("nop", "nop"), COUNT=("6", "6"), **_same
        ),
        f"the nop of a {_what} taken for a loop's padding": wrong(
            BEFORE_LOOP, PROBE=GONE, COUNT=("7", "7"), **_same
        ),
        f"the nop of a {_what} moved apart from its name": wrong(
            BEFORE_LOOP, PROBE=GONE, COUNT=("7", "7"), **(_same | {"OWN": BAD})
        ),
        f"the nop of a {_what} isn't the slot of the call": right(
            BEHIND_CALL, PROBE=("nop", "nop"), **_same
        ),
        f"the nop of a {_what} taken for the slot of the call": wrong(
            BEHIND_CALL.replace("SLOT", "FIRST", 1), PROBE=("nop", "nop"), FIRST=NOTHING, **_same
        ),
    }


def verified(case: Case, variants: Variants, *options: str) -> bool:
    old, new = variants(case.source, *options, **case.words)
    assert old != new
    return verify(old, new).verified


@pytest.mark.parametrize("name", CASES)
def test_slots_and_what_belongs_to_somebody_else(name: str, variants: Variants) -> None:
    assert verified(CASES[name], variants) == CASES[name].right


def test_nothing_is_missed_behind_a_call_that_gets_no_slot(variants: Variants) -> None:
    for source in (MORESTACK, OVER_DATA):
        old, new = variants(source, BAD=NOTHING)
        assert verify(old, new, need_slots=True).verified
    assert verify(old, old, need_slots=True).total == 1


def test_a_word_like_a_call_that_nothing_enters_needs_no_slot(variants: Variants) -> None:
    for jump, needed in (("b .Lover", 0), ("beq .Lover", 1)):
        words = {"JUMP": (jump,) * 2, "NAME": NOTHING, "WORD": ("0x48000101",) * 2}
        old, new = variants(UNENTERED, **words)
        missing = [
            [d.rule for d in verify(old, other, need_slots=True).differences].count("call-slot")
            for other in (old, new)
        ]
        assert missing == [2 + needed, needed]


# Padding

#: Functions that begin with nops. The first fills its 16 bytes, so that padding comes in behind it.
LEADING_NOPS = """
    .text
    .p2align 4
    .type h, @function
h:  nop
    blr
    .size h, .-h
    .p2align 4
    .globl f
    .type f, @function
f:  nop
    mflr 0
    std 0,16(1)
    stdu 1,-32(1)
    bl h
    SLOT
    addi 1,1,32
    ld 0,16(1)
    mr 3,4
    mtlr 0
    mr 3,4
    mr 3,4
    blr
    .size f, .-f
    .p2align 4
    .globl k
    .type k, @function
k:  nop
    BAD
    lwz 3,4(3)
    blr
    .size k, .-k
"""
#: Two of the three nops that are to be patched lie in front of the function.
PATCHABLE = """
    .text
    .p2align 4
    .type h, @function
h:  mflr 0
    bl k
    SLOT
    mtlr 0
    blr
    .size h, .-h
    .p2align 3
.Lpatch:
    NOPS
    .globl k
    .type k, @function
k:  nop
    blr
    .size k, .-k
    .section __patchable_function_entries,"awo",@progbits,.text
    .quad .Lpatch
"""
TWO = ("nop\n nop", "nop\n nop")
TWO_CALLS = """\
    .type h, @function
h:  mflr 0
    bl k
    SLOT
    bl k
    SLOT
    mtlr 0
    blr
    .size h, .-h
"""
#: The hash of a function's type, in front of it, as clang lays it out.
TYPE_HASH = f"""
    .text
    .p2align 4
    .long 0xc105cafe, 0x48000008
{TWO_CALLS}    .p2align 4
    .long 0xc105cafe, 0xca7a7a6f
    .type k, @function
k:  MORE
    blr
    .size k, .-k
"""
#: What gas and ld leave in one section: gas's gaps end in ori 2,2,0, ld's don't.
LINKED = """
    .text
    .p2align 5
    .type h, @function
h:  mflr 0
    bl k
    SLOT
    mtlr 0
    blr
    .size h, .-h
    GAP
    .type k, @function
k:  blr
    .size k, .-k
    nop
    ori 2,2,0
    ori 2,2,0
    .type m, @function
m:  blr
    .size m, .-m
"""
#: What LLVM's linker leaves between input sections: it fills with traps.
LLD = f"""
    .text
    .p2align 4
{TWO_CALLS}    .rept 3
    trap
    .endr
    .p2align 4
    MORE
    .type k, @function
k:  blr
    .size k, .-k
"""
#: Words that a function may read in front of itself.
PREFIX = f"""
    .text
    .p2align 4
{TWO_CALLS}    .p2align 4
    .long 1, 2, 3, 4
    MORE
    .type k, @function
k:  blr
    .size k, .-k
"""
TRAPS = f"""
    .text
    .p2align 4
{TWO_CALLS}    .p2alignl 4, TRAP
    .type k, @function
k:  blr
    .size k, .-k
"""
#: A traceback table's last word, a nop, and a function whose first words would make a table.
TABLE_LIKE = """
    .text
    .p2align 4
    .type h, @function
h:  blr
    .size h, .-h
    .type f, @function
f:  mr 3,4
    mr 3,4
    mr 3,4
    b g
    .long 0,0,0,0
    .size f, .-f
    nop
    .type k, @function
k:  addis 2,12,.TOC.-k@ha
    addi 2,2,.TOC.-k@l
    .localentry k,.-k
    mflr 0
    cmpdi 3,0
    blt .L
    bl h
    SLOT
.L: mtlr 0
    blr
    .space 704
    .size k, .-k
"""
#: clang -mcmodel=large: a zero word behind a tail call, a traceback table, padding, the distance to
#: the TOC.
ZERO_AND_TABLE = """
    .text
    .p2align 4
    .type f, @function
f:  mflr 0
    bl k
    SLOT
    mr 3,4
    mtlr 0
    b g
    .long 0
    .long 0
    .quad 0
    .size f, .-f
    .p2align 4
    .type k, @function
    .quad .TOC.-k
k:  ld 2,-8(12)
    add 2,2,12
    .localentry k,.-k
    blr
    .size k, .-k
"""
#: -mno-speculate-indirect-jumps.
NO_SPECULATION = inside(
    "addis 9,2,.Lt@toc@ha\n addi 9,9,.Lt@toc@l\n lwax 10,9,3\n add 10,10,9\n mtctr 10\n crset 2\n"
    " beqctr-\n b .\n .p2align 2\n.Lt: .long .La-.Lt\n .long .Lb-.Lt\n"
    ".La: bl g\n SLOT\n.Lb: bl g\n SLOT"
)
#: clang's gaps are plain nops however long they are.
LONG_GAP = f"""
    .text
    .p2align 6
{TWO_CALLS}    .rept COUNT
    nop
    .endr
    .type k, @function
k:  blr
    .size k, .-k
"""
#: A function that ends with LAST, whose slot is where padding was: no byte of code changes.
FROM_PADDING = """
    .text
    .p2align 4
    .type f, @function
f:  mflr 0
    LAST
    SLOT
    .size f, .-f
    .p2align 4
    .type k, @function
k:  blr
    .size k, .-k
"""
#: A branch over padding, as compilers write one.
OVER_PADDING = inside("bl g\n SLOT\n mr 3,4\n b .Lover\n ALIGN\n.Lover: mr 3,4\n bl g\n SLOT")
#: A function without bytes and its alias, aligned at the end of the section; f ends in a no-op.
EMPTY_AT_END = """
    .text
    .p2align 4
    .type g, @function
g:  blr
    .size g, .-g
    .p2align 4
    .type f, @function
f:  mflr 0
    bl g
    SLOT
    .rept COUNT
    mr 3,4
    .endr
    blr
    nop
    .size f, .-f
    MORE
    .type e, @function
e:  .size e, 0
    .globl a
    .set a, e
"""
#: A section's end that was aligned: nothing follows.
ALIGNED_END = inside("bl g\n SLOT\n mr 3,4", "a = .\n .globl a\n PAD")
#: Padding behind what doesn't go on, in front of a label that only a number in data leads to.
BEHIND_JUMP = inside("bl g\n SLOT\n mtctr 9\n JUMP\n PAD\n mr 3,5\n bl g\n SLOT\n MORE").replace(
    "BAD", ""
)
#: What `ld -r` makes of an object of gas and one of LLVM's assembler, which fills with plain nops.
OF_BOTH = (
    inside("bl g\n SLOT\n mr 3,4\n GAS\n.Lgas: addi 3,3,1\n cmpwi 3,5\n blt .Lgas")
    + """
    .p2align 4
    .type c, @function
c:  mflr 0
    bl g
    SLOT
    mr 3,4
    cmpwi 3,5
    blt .Lllvm
    FILL
.Lllvm: addi 3,3,1
    cmpwi 3,5
    blt .Lllvm
    mtlr 0
    blr
    .size c, .-c
    .section .comment
    .asciz "COMPILER"
"""
)
GAS = ("nop\n nop\n ori 2,2,0", "nop\n ori 2,2,0")
OF_CLANG = {"GAS": GAS, "COMPILER": ("clang version 19.1.7",) * 2}
OF_GCC = {"GAS": GAS, "COMPILER": ("GCC: 12.2.0",) * 2}

PADDING = {
    "a slot may come out of the padding behind a function": right(
        FROM_PADDING, LAST=("bl k", "bl k")
    ),
    "a nop of the padding behind what is no call": wrong(FROM_PADDING, LAST=("b k", "b k")),
    "a branch over padding is an instruction": right(OVER_PADDING, ALIGN=(".p2align 4",) * 2),
    "padding behind a branch that aligns nothing": wrong(
        OVER_PADDING, ALIGN=(".p2align 4", "nop\n ori 2,2,0\n ori 2,2,0")
    ),
    "a function without bytes stays aligned at the end": right(
        EMPTY_AT_END, COUNT=("8",) * 2, MORE=("", "nop\n nop\n nop")
    ),
    "a function without bytes is aligned to no more": wrong(
        EMPTY_AT_END, COUNT=("8",) * 2, MORE=("", "nop\n nop\n nop\n nop")
    ),
    "a section's end isn't aligned": right(ALIGNED_END, PAD=("nop\n nop\n nop",) * 2),
    "padding that ends as for another processor": wrong(
        BEHIND_JUMP, JUMP=("bctr",) * 2, PAD=("nop\n ori 2,2,0", "ori 1,1,0"), MORE=NOTHING
    ),
    "padding behind a jump": right(
        BEHIND_JUMP, JUMP=("bctr",) * 2, PAD=("nop\n ori 2,2,0", "ori 2,2,0"), MORE=NOTHING
    ),
    "padding behind a jump that is gone": right(
        BEHIND_JUMP, JUMP=("mr 6,7\n b g",) * 2, PAD=("ori 2,2,0", ""), MORE=NOTHING
    ),
    "padding behind a jump that aligns nothing": wrong(
        BEHIND_JUMP, JUMP=("bctr",) * 2, PAD=("nop\n ori 2,2,0",) * 2, MORE=BAD
    ),
    "no-ops that are run into are instructions": wrong(
        BEHIND_JUMP, JUMP=("mr 3,4",) * 2, PAD=("nop\n ori 2,2,0", "ori 2,2,0"), MORE=NOTHING
    ),
    "plain nops are LLVM's padding in a function, beside gas's": right(
        OF_BOTH, **OF_CLANG, FILL=("nop\n nop\n nop", "nop\n nop")
    ),
    "LLVM's padding may be ended as gas's": right(
        OF_BOTH, **OF_CLANG, FILL=("nop\n nop\n nop", "nop\n ori 2,2,0")
    ),
    "LLVM's padding that aligns nothing": wrong(
        OF_BOTH, **OF_CLANG, FILL=("nop\n nop\n nop", "nop")
    ),
    "plain nops are instructions where no one but gas was there": wrong(
        OF_BOTH, **OF_GCC, FILL=("nop\n nop\n nop", "nop\n nop")
    ),
    "a function's own nops aren't padding": right(LEADING_NOPS, BAD=NOTHING),
    "a nop too many at a function's entry": wrong(LEADING_NOPS, BAD=BAD),
    "nops to be patched in front of a function stay": right(PATCHABLE, NOPS=TWO),
    "a nop to be patched is gone": wrong(PATCHABLE, NOPS=("nop\n nop", "nop")),
    "a nop to be patched too many": wrong(PATCHABLE, NOPS=("nop\n nop", "nop\n nop\n nop\n nop")),
    "a type's hash is aligned, and is no code": right(TYPE_HASH, MORE=NOTHING),
    "a nop too many behind a type's hash": wrong(TYPE_HASH, MORE=BAD),
    "ld's padding is plain nops": right(LINKED, GAP=("nop\n nop\n nop\n nop", "nop\n nop\n nop")),
    "a function behind the traps of LLVM's linker is aligned": right(LLD, MORE=NOTHING),
    "traps that align a function": right(TRAPS, TRAP=("0x7fe00008", "0x7fe00008")),
    "traps that become something else": wrong(TRAPS, TRAP=("0x7fe00008", "0x7fe00009")),
    "what lies in front of a function is aligned": right(PREFIX, MORE=NOTHING),
    "padding between a function and what lies in front of it": wrong(
        PREFIX, MORE=("", "nop\n nop\n nop\n nop")
    ),
    "padding behind the traps of LLVM's linker that aligns nothing": wrong(LLD, MORE=BAD),
    "ld's padding that aligns nothing": wrong(
        LINKED, GAP=("nop\n nop\n nop\n nop", "nop\n nop\n nop\n nop")
    ),
    "what a function loads its TOC by is aligned": right(
        LINKED.replace("    .type k", "    .quad .TOC.-k\n    .type k"),
        GAP=("nop\n nop\n nop\n nop", "nop\n nop\n nop"),
    ),
    "a traceback table doesn't reach into a function": right(TABLE_LIKE),
    "a traceback table doesn't reach over its function's end": right(ZERO_AND_TABLE),
    "a table behind beqctr- and a branch to itself": right(NO_SPECULATION),
    "a long gap of plain nops": right(LONG_GAP, COUNT=("11", "9")),
    "a long gap's alignment is gone": wrong(LONG_GAP, COUNT=("11", "11")),
}


@pytest.mark.parametrize("name", PADDING)
def test_padding_keeps_what_follows_aligned_and_nothing_else_is_padding(
    name: str, variants: Variants
) -> None:
    case = PADDING[name]
    assert verified(case, variants, "-mpower9") == case.right


# Addends

XRAY = inside(
    "mr 3,4\n MORE\n EARLY\n.Lsled: b 1f\n nop\n1: bl g\n SLOT\n mr 3,4\n MORE\n ALIGN\n"
    ".Lexit: mr 3,4",
    '.section xray_instr_map,"ao",@progbits,.text\n'
    " 8: .quad .Lsled-8b, f-8b-8, 0, 0\n 9: .quad .Lexit-9b, f-9b-8, 1, 0\n",
)
VTABLE = """
    .section .rodata
    .type vtable, @object
vtable: .long 0, 0
    .long e-(vtable+8), e2-(vtable+8)
    .size vtable, .-vtable
    .text
    .globl e, e2
    .type e, @function
e:  mflr 0
    bl h
    SLOT
    blr
    .size e, .-e
    .type e2, @function
e2: bl h
    SLOT
    blr
    .size e2, .-e2
    .type h, @function
h:  blr
"""


#: A group of relative vtables (clang -fexperimental-relative-c++-abi-vtables) whose functions are
#: local, so that only the section and the addend name them.
RELATIVE_VTABLES = """
    .data
info: .quad 0
    .section .rodata
    .type _ZTV1d, @object
_ZTV1d: .long 0
    .long info-(_ZTV1d+8)
    .long e-(_ZTV1d+8), FIELD-(_ZTV1d+8), __cxa_pure_virtual-(_ZTV1d+8), e3-(_ZTV1d+8)
    .long -8
    .long info-.Lsecond
.Lsecond:
    .long e3-.Lsecond, e2-.Lsecond
    .size _ZTV1d, .-_ZTV1d
    .text
    .type e, @function
e:  mflr 0
    bl h
    SLOT
    blr
    .size e, .-e
    .type e2, @function
e2: bl h
    SLOT
    bl h
    SLOT
    blr
    .size e2, .-e2
    .type e3, @function
e3: mflr 0
    bl h
    SLOT
    mr 3,4
    bl h
    SLOT
    blr
    .size e3, .-e3
    .type h, @function
h:  blr
"""


@pytest.mark.parametrize(("field", "right"), [("e2", True), ("e2+4", False)])
def test_fields_of_relative_vtables_count_from_their_address_points(
    field: str, right: bool, variants: Variants
) -> None:
    """The wrong one is moved as if it counted from its own place."""
    assert verify(*variants(RELATIVE_VTABLES, FIELD=("e2", field))).verified == right


@pytest.mark.parametrize("more", ["", "mr 3,4"])
@pytest.mark.parametrize(("align", "rules"), [(".p2align 3", set()), ("", {"padding"})])
def test_an_xray_map_names_sleds_of_which_those_at_returns_stay_aligned(
    align: str, rules: set[str], more: str, variants: Variants
) -> None:
    """Whether or not a sled at an entry is aligned, as clang -Os leaves many."""
    words = {"ALIGN": (".p2align 3", align), "MORE": (more, more), "EARLY": ("", "")}
    report = verify(*variants(XRAY, **words))
    assert {difference.rule for difference in report.differences} == rules


@pytest.mark.parametrize("aligned", [False, True])
def test_a_sled_at_an_entry_may_be_kept_aligned(aligned: bool, variants: Variants) -> None:
    source = XRAY.replace(
        "EARLY", "bl g\n SLOT\n mr 3,4" + "\n mr 3,4" * (not aligned) + "\n EARLY"
    )
    words = {"ALIGN": (".p2align 3",) * 2, "MORE": ("", ""), "EARLY": ("", "ori 2,2,0")}
    assert verify(*variants(source, **words)).verified == aligned


def test_a_distance_to_a_function_named_by_its_symbol_keeps_its_addend(variants: Variants) -> None:
    old, new = variants(VTABLE)
    assert verify(old, new).verified


@pytest.mark.parametrize("behind", [False, True])
def test_the_end_of_a_feature_section_is_in_front_of_the_padding_behind_it(
    behind: bool, variants: Variants
) -> None:
    name = FEATURE.replace("9b+4", "6f")
    source = BEFORE_LOOP.replace("OWN", "").replace("PROBE", "or 3,3,3\nEND").replace("NAME", name)
    source = source.replace("COUNT", "5")
    moved = ("6:", "") if behind else ("6:", "6:")
    old, new = variants(
        source.replace(".Lloop:", "LAST .Lloop:"), END=moved, LAST=("", "6:" if behind else "")
    )
    assert verify(old, new).verified != behind


#: An address and its use, with another prefixed instruction in between: gas puts a nop in front of
#: that where it would cross 64 bytes.
PCREL_OPT = """
    .text
    .p2align 6
    .type g, @function
g:  blr
    .size g, .-g
    .type f, @function
f:  mflr 0
    bl g
    SLOT
    .rept COUNT
    mr 3,4
    .endr
.Laddress: pld 3,x@got@pcrel
    .reloc .Laddress,R_PPC64_PCREL_OPT,.Luse-.Laddress+MORE
    mr 5,6
    pla 7,y@pcrel
.Luse: lwz 4,0(3)
    mtlr 0
    blr
    .size f, .-f
"""


@pytest.mark.parametrize("count", [7, 8, 9, 10])
def test_the_distance_from_an_address_to_its_use_follows_both(
    count: int, variants: Variants
) -> None:
    """With 8 the nop comes, with 9 it goes, with the others the distance stays."""
    words = {"COUNT": (str(count), str(count))}
    old, new = variants(PCREL_OPT, "-mpower10", MORE=("0", "0"), **words)
    lengths = [
        next(r.addend for r in elf.read(data).relocations[1] if r.type == 123)
        for data in (old, new)
    ]
    assert lengths[1] - lengths[0] == {8: 4, 9: -4}.get(count, 0)
    assert verify(old, new).verified
    for more in ("4", "-4"):
        assert not verify(*variants(PCREL_OPT, "-mpower10", MORE=("0", more), **words)).verified


#: Functions of two words, each with its patched entry; the last is aligned, and needs no padding.
SHORT = """
    .abiversion 2
    .p2align 4
    .type h, @function
h:  mflr 0
    bl g
    SLOT
    mtlr 0
    blr
    .size h, .-h
    .type e, @function
e:  nop
    blr
    .size e, .-e
    .type f, @function
f:  nop
    blr
    .size f, .-f
    .p2align 4
    .globl g
    .type g, @function
g:  nop
    blr
    .size g, .-g
    .section __patchable_function_entries,"awo",@progbits,.text
    .quad e, f, g
"""


def test_the_patched_entry_of_one_function_is_not_in_front_of_the_next(assemble: Assemble) -> None:
    plain, want = (assemble(SHORT.replace("SLOT", slot)) for slot in ("", "nop"))
    assert verify(plain, want).verified


#: A literal of code's own, which begins with a word of zeros as a traceback table does.
LITERAL = """
    .abiversion 2
    .type f, @function
f:  mflr 0
    bl g
    SLOT
    addis 9,2,.Lk@toc@ha
    lfd 1,.Lk@toc@l(9)
    mtlr 0
    blr
    INSIDE
    .p2align 3
.Lk: .quad WORDS
    BEHIND
    .type g, @function
g:  blr
    .size g, .-g
"""
LITERALS = {
    "with what would be a far tb_offset": "0x0020000000000000, 0x1234567800000000",
    "with what would be a near tb_offset": "0x0020000000000000, 0x0000000400000000",
    "one and eight": "0x3ff0000000000000, 0x4020000000000000",
    "whose words look like branches": "0x0000000000000000, 0x4120000040000000",
}


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("words", LITERALS.values(), ids=LITERALS)
def test_a_literal_is_no_traceback_table_and_no_code(
    words: str, inside: bool, assemble: Assemble
) -> None:
    text, size = LITERAL.replace("WORDS", words), ".size f, .-f"
    text = text.replace("INSIDE", "" if inside else size).replace("BEHIND", size if inside else "")
    for more in ("", "mr 3,4"):
        plain = assemble(text.replace("SLOT", more))
        assert verify(plain, bytes(rewrite(plain).data), need_slots=True).differences == ()


#: GCC's own: the distance from the function's start to the zero word.
TRACEBACK = """
    .type f, @function
f:  mflr 0
    bl g
    SLOT
    mtlr 0
    blr
    .long 0
    .byte 0,0,32,0,0,0,0,0
    .long OFFSET
    .size f, .-f
    .type g, @function
g:  blr
"""


@pytest.mark.parametrize(("offset", "right"), [(("16", "20"), True), (("16", "16"), False)])
def test_a_traceback_tables_offset_follows_its_function(
    offset: tuple[str, str], right: bool, variants: Variants
) -> None:
    assert verify(*variants(TRACEBACK, OFFSET=offset)).verified == right


#: Code that is no function's, as its end is said too early.
BEHIND_SIZE = """
    .text
    .p2align 4
    .type f, @function
f:  mflr 0
    bl g
    SLOT
    mtlr 0
    blr
    .size f, .-f
    CODE
    .p2align 4
    .type g, @function
g:  blr
    .size g, .-g
"""


@pytest.mark.parametrize(
    "code", ["mr 3,4\n mr 3,4\n blr", "mr 3,4\n b f", "mr 3,4", "y: mr 3,4\n blr", "y: bl g\n SLOT"]
)
def test_code_behind_a_functions_end_may_have_padding_of_its_own(
    code: str, variants: Variants
) -> None:
    old, new = variants(BEHIND_SIZE.replace("CODE", code))
    assert verify(old, new).differences == ()
    assert verify(old, bytes(rewrite(old).data)).differences == ()


#: An object of data among code, some of whose words look like no-ops.
AN_OBJECT = """
    .text
    .p2align 4
    .type f, @function
f:  mflr 0
    bl g
    SLOT
    mtlr 0
    blr
    .size f, .-f
    .type c, @object
c:  .long FIRST
    .size c, .-c
    .type g, @function
g:  blr
    .size g, .-g
"""
NO_OPS = ", ".join(["0x60000000"] * 3)


@pytest.mark.parametrize("words", [f"{NO_OPS}, 5", f"5, {NO_OPS}", f"5, {NO_OPS}, 6", NO_OPS])
def test_nothing_comes_into_an_object_whose_words_look_like_no_ops(
    words: str, variants: Variants
) -> None:
    text = AN_OBJECT.replace("FIRST", "WORDS")
    assert verify(*variants(text, WORDS=(words, words))).verified
    more, less = words.replace(NO_OPS, f"{NO_OPS}, 0x60000000"), words.replace(NO_OPS, NO_OPS[12:])
    for other in (more, less):
        assert not verify(*variants(text, WORDS=(words, other))).verified
    old, _ = variants(text, WORDS=(words, words))
    assert verify(old, bytes(rewrite(old).data)).differences == ()


#: A branch into the no-ops in front of a function, which lead to it from any of them.
INTO_PADDING = """
    .text
    .p2align 4
    .type f, @function
f:  mflr 0
    bl g
    SLOT
    beq x
    mtlr 0
    blr
    .size f, .-f
    FIRST
x:  NO_OPS
    .type g, @function
g:  CODE
    blr
    .size g, .-g
"""


@pytest.mark.parametrize(
    ("first", "no_ops", "right"),
    [
        (("nop", "nop"), ("nop\n nop", "nop"), True),
        (("nop", ""), ("nop\n nop", "nop\n nop"), True),
        (("nop", ""), ("nop\n nop", "nop"), False),
        # x itself is code.
        (("nop", "nop"), ("mr 3,4\n nop", "nop\n mr 3,4"), False),
    ],
)
def test_a_branch_into_padding_may_lead_to_any_of_its_no_ops(
    first: tuple[str, str], no_ops: tuple[str, str], right: bool, variants: Variants
) -> None:
    old, new = variants(INTO_PADDING.replace("CODE", ""), FIRST=first, NO_OPS=no_ops)
    assert verify(old, new).verified == right
    assert verify(old, bytes(rewrite(old).data)).differences == ()


#: GCC -fsplit-stack: `__morestack` runs the three words behind its call last, and comes back to the
#: branch behind them.
SPLIT_STACK = """
    .text
    .type f, @function
f:  mflr 0
    b .Lmore
.Lbody:
    bl g
    SLOT
    blr
.Lmore:
    std 0,16(1)
    bl __morestack
    ld 0,16(1)
    mtlr 0
    blr
    b .Lbody+STALE
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
"""


@pytest.mark.parametrize("stale", [0, 4, -4])
def test_a_branch_that_morestack_comes_back_to_is_executed(stale: int, variants: Variants) -> None:
    old, new = variants(SPLIT_STACK, STALE=("0", str(stale)))
    assert verify(old, new).verified == (not stale)
