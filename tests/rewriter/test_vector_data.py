"""Constants in code that vectors are read from: aligned to 16 as before, or refused."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal, rewrite
from nopfix.rewriter.object import elf
from nopfix.rewriter.options import Options

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Assemble

POOL = bytes(range(1, 33))
DATA = f".Lpool: .byte {', '.join(map(str, POOL))}\n"
TO_POINTER = "    addis 9,2,.Lpool@toc@ha\n    addi 9,9,.Lpool@toc@l\n"
READS = {
    "lvx": TO_POINTER + "    lvx 0,0,9\n",
    "lvx with an index": TO_POINTER + "    li 8,16\n    lvx 0,8,9\n",
    "stvx": TO_POINTER + "    stvx 0,0,9\n",
    "lq": TO_POINTER + "    lq 4,0(9)\n",
    "an absolute address": "    lis 9,.Lpool@ha\n    addi 9,9,.Lpool@l\n    lvx 0,0,9\n",
    "an address in the TOC": (
        '    .pushsection .toc,"aw"\n.LT: .quad .Lpool\n    .popsection\n'
        "    ld 9,.LT@toc(2)\n    lvx 0,0,9\n"
    ),
    "an address in data": (
        '    .pushsection .data.rel.ro,"aw"\npointer: .quad .Lpool\n    .popsection\n'
        "    addis 9,2,pointer@toc@ha\n    ld 9,pointer@toc@l(9)\n    lvx 0,0,9\n"
    ),
    "lxv with a relocation": "    addis 9,2,.Lpool@toc@ha\n    lxv 0,.Lpool@toc@l(9)\n",
    "lxvp with a relocation": "    addis 9,2,.Lpool@toc@ha\n    lxvp 0,.Lpool@toc@l(9)\n",
    "a prefixed address": "    pla 9,.Lpool@pcrel\n    lvx 0,0,9\n",
}
OTHER = "    .type g,@function\ng:  blr\n    .size g,.-g\n"
FUNCTION = """
    .type f,@function
f:  mflr 0
    bl ext
{more}{read}    mtlr 0
    blr
{inside}    .size f,.-f
"""
PLACES = {
    "behind the function": "{front}" + FUNCTION + "    .p2align 4\n{data}" + OTHER,
    "the last of the section": "{front}" + FUNCTION + "    .p2align 4\n{data}",
    "with a name": "{front}"
    + FUNCTION
    + "    .p2align 4\n    .type c,@object\nc: {data}    .size c,32\n",
    "within the function": "{front}" + FUNCTION.replace("{inside}", "    .p2align 4\n{data}"),
    "behind another word": "{front}" + FUNCTION + "    .p2align 4\n    .long 9, 9, 9, 9\n{data}",
    "for another section": (
        "{front}    .type h,@function\nh:  bl ext\n    mr 3,4\n    blr\n    .size h,.-h\n"
        '    .p2align 4\n{data}    .section .text.f,"ax"\n' + FUNCTION
    ),
}


def place_of_pool(data: bytes) -> int:
    """Where the constants lie in the section that has them, modulo 16."""
    obj = elf.read(data)
    found = [bytes(obj.contents(section.number)).find(POOL) for section in obj.sections]
    (place,) = (place for place in found if place >= 0)
    return place


@pytest.mark.parametrize("where", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_a_relocated_vector_load_reads_stays_aligned(
    assemble: Assemble, read: str, where: str
) -> None:
    for words in range(4):
        more = "    li 4,0\n" * words
        front = "    .abiversion 2\n    .text\n    .p2align 4\n"
        text = where.format(front=front, more=more, read=read, data=DATA, inside="")
        plain = assemble(text, "-mpower10")
        assert place_of_pool(plain) % 16 == 0
        assert place_of_pool(rewrite(plain).data) % 16 == 0


def test_without_padding_it_is_refused(assemble: Assemble) -> None:
    text = PLACES["within the function"].format(
        front="    .abiversion 2\n    .p2align 4\n",
        more="    li 4,0\n    li 4,0\n",
        read=READS["lvx"],
        data=DATA,
        inside="",
    )
    with pytest.raises(Refusal, match="which vectors may be read from, is no longer aligned"):
        rewrite(assemble(text), Options(realign=False))


UNALIGNED = {
    "nothing reads vectors": TO_POINTER + "    ld 3,0(9)\n",
    "vectors of any address": TO_POINTER + "    lxvd2x 0,0,9\n",
}


@pytest.mark.parametrize("read", UNALIGNED.values(), ids=UNALIGNED)
def test_what_is_read_from_any_address_gets_no_padding(assemble: Assemble, read: str) -> None:
    text = PLACES["within the function"].format(
        front="    .abiversion 2\n    .p2align 4\n",
        more="    li 4,0\n",
        read=read,
        data=DATA,
        inside="",
    )
    plain = assemble(text)
    assert place_of_pool(rewrite(plain).data) == place_of_pool(plain) + 4


def test_a_label_that_a_table_of_addresses_names_is_no_data(assemble: Assemble) -> None:
    text = """
    .abiversion 2
    .p2align 4
    .globl f
    .type f,@function
f:  mflr 0
    bl ext
    mtlr 0
    lvx 0,0,3
1:  li 4,0
    blr
    .size f,.-f
    .section .rodata,"a"
    .p2align 3
    .quad 1b
"""
    plain = assemble(text)
    assert len(rewrite(plain).report.insertions) == 1


def test_a_switch_table_is_read_from_any_address(assemble: Assemble) -> None:
    """GCC's own table, in the midst of code that uses vectors."""
    text = """
    .abiversion 2
    .p2align 4
    .globl f
    .type f,@function
f:  lxv 0,0(4)
    bl ext
    cmplwi 0,3,3
    bgt 0,.Lend
    addis 10,2,.Ltable@toc@ha
    addi 10,10,.Ltable@toc@l
    sldi 9,3,2
    lwax 9,10,9
    add 9,9,10
    mtctr 9
    bctr
    .p2align 2
.Ltable:
    .long .Lcase-.Ltable, .Lcase-.Ltable, .Lend-.Ltable, .Lcase-.Ltable
.Lcase: li 3,1
.Lend: blr
    .size f,.-f
"""
    for words in range(4):
        more = "    bl ext\n" + "    li 5,0\n" * words
        plain = assemble(text.replace("    bl ext\n", more), "-mpower9")
        result = rewrite(plain)
        assert result.report.insertions
        assert [row.new_size - row.old_size for row in result.report.resized] == [4]


SETJMP = """
void *buffer[5];
void g(int);
static __attribute__((noinline)) void jump(void) { __builtin_longjmp(buffer, 1); }
int f(int n)
{
  for (int i = 0; i < n; i++)
    if (__builtin_setjmp(buffer)) g(i); else jump();
  return n;
}
"""


SIZED_ARRAY = (
    SETJMP.replace("g(int)", "g(int, char *)")
    .replace("g(i)", "g(i, here)")
    .replace("  for", "  char *here = __builtin_alloca(n);\n  for")
)


@pytest.mark.parametrize("text", [SETJMP, SIZED_ARRAY], ids=["by r1", "by the frame pointer"])
@pytest.mark.parametrize("options", ["-O2", "-O1", "-O3"])
def test_where_vectors_are_only_saved_on_the_stack_a_label_in_code_is_no_constant(
    text: str, options: str, tmp_path: Path
) -> None:
    source, made = tmp_path / "f.c", tmp_path / "f.o"
    source.write_text(text)
    command = ("powerpc64le-linux-gnu-gcc", *options.split(), "-falign-labels=16", "-c")
    subprocess.run((*command, source, "-o", made), check=True)
    assert rewrite(made.read_bytes(), Options(realign=False)).report.insertions


@pytest.mark.parametrize("made", ["    ld 31,0(9)\n", "    mr 31,9\n", "    ldx 31,1,9\n"])
def test_a_frame_pointer_that_something_else_is_put_into_may_read_constants(
    assemble: Assemble, made: str
) -> None:
    text = PLACES["within the function"].format(
        front="    .abiversion 2\n    .p2align 4\n",
        more="    li 4,0\n    li 4,0\n",
        read="    mr 31,1\n" + TO_POINTER + made + "    lvx 0,0,31\n",
        data=DATA,
        inside="",
    )
    with pytest.raises(Refusal, match="which vectors may be read from, is no longer aligned"):
        rewrite(assemble(text), Options(realign=False))


IN_AN_OBJECT = """
    .p2align 4
    .type f,@function
f:  mflr 0
    bl ext
    addis 9,2,c@toc@ha
    addi 9,9,c@toc@l
    addis 10,2,(c+24)@toc@ha
    addi 10,10,(c+24)@toc@l
    lvx 0,0,10
    mtlr 0
    blr
    .size f,.-f
    .space 20
    .type c,@object
c:  .long 1, 2, 3, 4, 5, {word}
    .long 7, 8, 9, 10
    .size c,.-c
"""


@pytest.mark.parametrize("word", [6, 0x60000000, 0x60420000, 0x4E800020, 0x48000010])
def test_nothing_comes_into_an_object_or_goes_from_it_whatever_its_words_look_like(
    assemble: Assemble, word: int
) -> None:
    plain = assemble(IN_AN_OBJECT.format(word=word))
    result = elf.read(rewrite(plain).data)
    text = next(header for header in result.sections if header.name == ".text")
    symbols = result.symbols
    start = next(symbols.values[i] for i in range(len(symbols.values)) if symbols.name(i) == "c")
    words = memoryview(bytes(result.contents(text.number))[start : start + 40]).cast("I")
    assert list(words) == [1, 2, 3, 4, 5, word, 7, 8, 9, 10]
    assert (start + 24) % 16 == 0
