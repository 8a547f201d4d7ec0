"""Distances between labels, stored as numbers that nothing marks: proved or refused.

The five files of GCC's testsuite that have them, and switches and computed gotos of our own, with a
nop in front of every return: few of the five have a call, so here the insertions are chosen by us.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal, rewrite
from nopfix.corpus import assembly, compare, toolchain
from nopfix.rewriter.object import elf
from nopfix.rewriter.power.instruction import BLR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINK = ("powerpc64le-linux-gnu-gcc-12", "-static")
QEMU = "qemu-ppc64le"
FILES = (
    "execute/pr70460.c",
    "compile/labels-1.c",
    "compile/labels-2.c",
    "compile/labels-3.c",
    "compile/20021108-1.c",
)
WRITABLE = "a table of label differences that the program may change"
#: What is refused, and why: at -O0 and -O1 the array of pr70460.c is written to.
EXPECTED = {"execute/pr70460.c": (WRITABLE,)}
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")
#: What each level makes of an index is seen with one compiler, and less with the others.
LEVELS_OF = {"gcc-11": ("-O2",), "gcc-12": LEVELS, "clang-19": ("-O0", "-O2")}

PREAMBLE = """
int ext(int, ...);
static __attribute__((noinline)) int local(int x) { return ext(x) + 1; }
int f(int x, int y) {
"""
END = """
 a: if (local(1)) return 1;
 b: if (local(2)) return 2;
 c: if (local(9)) return 9;
 d: return 3;
}
"""
#: Label differences by what is done with them, and whether they can be proved.
OWN = {
    "bounded": (True, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                " if (x > 3u) return 0; goto *(&&b + t[x]);"),
    "all of it": (True, "static const int t[] = {&&a-&&a, &&b-&&a, &&c-&&a, &&d-&&a};"
                  " goto *(&&a + t[x]);"),
    "short": (True, "static const short t[] = {&&a-&&a, &&b-&&a, &&c-&&a}; goto *(&&a + t[x]);"),
    "bytes": (True, "static const unsigned char t[] = {&&a-&&a, &&b-&&a}; goto *(&&a + t[x]);"),
    "by a byte": (True, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                  " goto *(&&b + t[(unsigned char) x]);"),
    "addresses": (True, "static void *const t[] = {&&a, &&b, &&c, &&d}; goto *t[x];"),
    "entered in the middle": (False,
                "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b, &&b-&&b};"
                " const int *m = t + 2; if (x > 2) return 0; goto *(&&b + m[x]);"),
    "with other numbers": (True,
                "static const struct { int op, to; } t[] = {{4, &&a-&&b}, {8, &&b-&&b},"
                " {12, &&c-&&b}, {16, &&d-&&b}}; goto *(&&b + t[x].to);"),
    "with two other numbers": (True,
                "static const struct { int op, to, more; } t[] = {{4, &&a-&&b, 8}, {8, &&b-&&b, 4},"
                " {12, &&c-&&b, 8}, {16, &&d-&&b, 0}}; ext(t[x].op + t[x].more);"
                " goto *(&&b + t[x].to);"),
    "with names": (True,
                "static const struct { const char *op; short to; char more; } t[] ="
                " {{\"a\", &&a-&&b, 8}, {\"b\", &&b-&&b, 4}, {\"c\", &&c-&&b, 8}};"
                " ext(t[x].more, t[x].op); goto *(&&b + t[x].to);"),
    "two in each": (True,
                "static const struct { int to, or; } t[] = {{&&a-&&b, &&d-&&b}, {&&b-&&b, &&a-&&b},"
                " {&&c-&&b, &&b-&&b}}; if (y) goto *(&&b + t[x].or); goto *(&&b + t[x].to);"),
    "one of two": (True,
                "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b}; static const int u[] ="
                " {&&c-&&b, &&d-&&b, &&b-&&b}; const int *p = ext(1) ? t : u;"
                " goto *(&&b + p[x]);"),
    "in rows": (True, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b,"
                " &&d-&&b, &&c-&&b, &&a-&&b}; goto *(&&b + t[3 * x + y]);"),
    "each third of them": (False, "static const int t[] = {&&a-&&a, 4, 8, &&b-&&a, 8, 4,"
                " &&c-&&a, 12, 8}; unsigned z = 3 * (unsigned char) x; ext(t[z + 1]);"
                " goto *(&&a + t[z]);"),
    "operands between them": (False, "static const int t[] = {&&a-&&a, 4, &&b-&&a, 8, 12, &&c-&&a};"
                " static unsigned z; ext(1, &z); if (y) ext(t[z++]); goto *(&&a + t[z++]);"),
    "in a variable": (False,
                "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b}; static const int u[] ="
                " {&&c-&&b, &&d-&&b, &&b-&&b}; const int *p = t; ext(1, &p); if (y) p = u;"
                " goto *(&&b + p[x]);"),
    "with a sum": (False, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b};"
                " goto *(&&b + t[x] + y);"),
    "written to": (False, "static int t[] = {&&a-&&b, &&b-&&b, &&c-&&b}; t[2] = ext(1);"
                " goto *(&&b + t[x]);"),
    "by a rest": (True, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b};"
                  " goto *(&&b + t[(unsigned) x % 3]);"),
    "by a rest with a sign": (True, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b};"
                  " goto *(&&b + t[x % 3]);"),
    "by a rest of a power of 2 with a sign": (True,
                  "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                  " goto *(&&b + t[x % 4]);"),
    "by a byte's rest": (True, "static const short t[] = {&&a-&&a, &&b-&&a, &&c-&&a};"
                  " goto *(&&a + t[(unsigned char) x % 3]);"),
    "by the rest of a division by anything": (True,
                  "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b};"
                  " goto *(&&b + t[(unsigned) x % (unsigned) y]);"),
    "by a quotient": (True, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b};"
                  " goto *(&&b + t[(unsigned char) x / 100]);"),
    "by a minimum": (True, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                  " goto *(&&b + t[x < 3u ? x : 3]);"),
    "by a number of bits": (True,
                  "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                  " goto *(&&b + t[__builtin_popcountl(x & 7)]);"),
    "backwards": (True, "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b};"
                  " goto *(&&b + t[2 - (unsigned) x % 3]);"),
    "by a part of a product": (True,
                  "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                  " goto *(&&b + t[x * 0x9e3779b1u >> 30]);"),
    "of more than a rest": (False,
                  "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                  " goto *(&&b + t[(unsigned) x % 3]);"),
    "by the rest of a product": (False,
                  "static const int t[] = {&&a-&&a, 4, 8, &&b-&&a, 8, 4, &&c-&&a, 12, 8};"
                  " goto *(&&a + t[3u * (unsigned char) x % 9]);"),
    "by a part of three times a number": (False,
                  "static const int t[] = {&&a-&&a, 4, 8, &&b-&&a, 8, 4, &&c-&&a, 12, 8};"
                  " unsigned z = 6u * (unsigned char) x; ext(z); goto *(&&a + t[z / 2]);"),
    "by even numbers": (False, "static const int t[] = {&&a-&&a, 4, &&b-&&a, 8, &&c-&&a, 12};"
                  " int z = x * 2, w = y * 2; ext(z, w); goto *(&&a + t[z ^ w]);"),
    "by products with what isn't known": (False,
                  "static const int t[] = {&&a-&&a, 4, &&b-&&a, 8, &&c-&&a, 12};"
                  " goto *(&&a + t[x * y]);"),
    "kept in a variable": (True,
                  "static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                  " int distance = t[x & 3]; ext(y); goto *(&&b + distance);"),
    "of half-words, kept in a word": (True,
                  "static const short t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b};"
                  " int distance = t[x & 3]; ext(y); goto *(&&b + distance);"),
    "by a number that a function called may have changed": (False,
                  "static const int t[] = {&&a-&&a, &&b-&&a, &&c-&&a};"
                  " int i = 0; ext(x, &i); goto *(&&a + t[i]);"),
    "a distance that a function called may have changed": (False,
                  "char *p = &&a, *q = &&b; long d = q - p; ext(y, &d); goto *(p + d);"),
    "eight bytes": (True, "static const long t[] = {&&a-&&a, &&b-&&a}; goto *(&&a + t[x]);"),
}  # fmt: skip


def with_nops(text: str) -> str:
    """``text`` with a nop before each ``blr``, in front of the labels that stand there."""
    lines = text.split("\n")
    for index in range(len(lines) - 1, -1, -1):
        if re.match(r"\s+blr\b", lines[index]):
            while re.match(r"\S+:|\s+\.cfi_", lines[index - 1]):
                index -= 1
            lines.insert(index, "\tnop")
    return "\n".join(lines)


def judge(source: Path, compiler: str, flags: tuple[str, ...], folder: Path) -> str:
    """Empty when nopfix gives what the assembler gives, else the refusal or the differences."""
    text = folder / "f.s"
    done = toolchain.run(
        toolchain.compile_command(toolchain.Tools(compiler), flags, source, text), cwd=folder
    )
    assert done.status == 0, done.errors
    plain = assembly.edit(text.read_text()).plain
    made = {}
    for name, content in (("plain", plain), ("want", with_nops(plain))):
        (folder / f"{name}.s").write_text(content)
        command = [
            *toolchain.assembler(toolchain.Tools(compiler), flags),
            "-o",
            f"{name}.o",
            f"{name}.s",
        ]
        assert toolchain.run(command, cwd=folder).status == 0
        made[name] = (folder / f"{name}.o").read_bytes()
    obj = elf.read(made["plain"])
    returns = [
        (section.number, 4 * index)
        for section in obj.sections
        if section.flags & elf.SHF_EXECINSTR
        for index, word in enumerate(elf.column(obj.contents(section.number), "I"))
        if word == BLR
    ]
    assert returns
    try:
        got = rewrite(made["plain"], insertions=returns).data
    except Refusal as refusal:
        return f"refused: {refusal}"
    return "\n".join(compare.differences(bytes(got), made["want"]))


@pytest.mark.parametrize("compiler", ["gcc-11", "gcc-12", "clang-19"])
@pytest.mark.parametrize("name", FILES)
def test_label_differences_of_the_testsuite_are_proved_or_refused(
    name: str,
    compiler: str,
    testsuite: Path,
    tmp_path: Path,
    need_compiler: Callable[[str], None],
) -> None:
    need_compiler(compiler)
    verdicts = {
        level: judge(testsuite / "gcc.c-torture" / name, compiler, (level,), tmp_path)
        for level in LEVELS
    }
    expected = EXPECTED.get(name, ())
    wrong = {
        level: text
        for level, text in verdicts.items()
        if text and not any(text.startswith("refused") and why in text for why in expected)
    }
    assert not wrong
    assert "" in verdicts.values()


@pytest.mark.parametrize("compiler", ["gcc-11", "gcc-12", "clang-19"])
@pytest.mark.parametrize("kind", OWN)
def test_label_differences_are_proved_or_refused_by_their_use(
    kind: str, compiler: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(compiler)
    proved, body = OWN[kind]
    source = tmp_path / "f.c"
    source.write_text(PREAMBLE + body + END)
    for level in LEVELS_OF[compiler]:
        text = judge(source, compiler, (level,), tmp_path)
        assert text == "" if proved else text.startswith("refused"), (level, text)


TOKENS = """
int ext(int, ...);
int fetch(const int *), fetched(const int **);
const int *kept;
static __attribute__((noinline)) int local(int x) {{ return ext(x) + 1; }}
static const int other[] = {{ 4, 8, 12, 16, 20, 24 }};
int f(int x, int y)
{{
    static const int program[] = {{ {program} }};
    {begin}
#define NEXT goto *(&&a + {next})
    NEXT;
 a: x += local(1) + other[y & 3]; NEXT;
 b: x ^= local(x); {operand} NEXT;
 c: x *= 3; NEXT;
 d: if (x & 1) x = local(x + 9); NEXT;
 e: return ext(x);
}}
"""
CODE = "&&b - &&a, &&c - &&a, &&a - &&a, &&d - &&a, &&b - &&a, &&e - &&a"
CODE_WITH_OPERANDS = "&&b - &&a, 4, &&c - &&a, &&a - &&a, &&d - &&a, &&b - &&a, 8, &&e - &&a"
PAIRS = "&&b - &&a, 4, &&c - &&a, 8, &&a - &&a, 12, &&d - &&a, 4, &&b - &&a, 8, &&e - &&a, 0"
BEGIN = "const int *p = program;"
ALL = ("gcc-11", "gcc-12", "clang-19")
#: Programs of label differences that a pointer goes through, and with which compilers at -O2 they
#: can be proved.
WALKED = {
    "one after the other": (ALL, CODE, BEGIN, "*p++", ""),
    "by a number": (ALL, CODE, "int i = 0;", "program[i++]", ""),
    "backwards": (ALL[:2], f"&&e - &&a, {CODE}", "const int *p = program + 6;", "*p--", ""),
    "left out in part": (ALL[:2], CODE, BEGIN, "*p++", "if (x & 2) p++;"),
    "in pairs": (ALL[:2], PAIRS, BEGIN, "(p += 2)[-2]", "x += p[-1];"),
    "by turns": (ALL[:2], CODE, "const int *p = program, *q = program + 1, *old;",
                 "(old = p, p = q, q = old + 1, *old)", ""),
}  # fmt: skip
#: What else than label differences may be in them, as far as the code tells.
NOT_WALKED = {
    "with operands": (CODE_WITH_OPERANDS, BEGIN, "*p++", "x += *p++;"),
    "in pairs that begin in between": (PAIRS, BEGIN, "(p += 2)[-2]", "p++; x += *p++;"),
    "another function reads operands": (CODE_WITH_OPERANDS, BEGIN, "*p++", "x += fetch(p++);"),
    "another function goes on in it": (CODE_WITH_OPERANDS, BEGIN, "*p++", "x += fetched(&p);"),
    "kept elsewhere": (CODE_WITH_OPERANDS, BEGIN, "*p++", "kept = p; x += ext(2); p++;"),
    "read by an index": (CODE_WITH_OPERANDS, BEGIN, "*p++", "x += p[y]; p++;"),
}


@pytest.mark.parametrize("compiler", ALL)
@pytest.mark.parametrize("kind", WALKED)
def test_a_pointer_goes_through_a_program_of_label_differences(
    kind: str, compiler: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(compiler)
    proved, program, begin, following, operand = WALKED[kind]
    source = tmp_path / "f.c"
    source.write_text(TOKENS.format(program=program, begin=begin, next=following, operand=operand))
    text = judge(source, compiler, ("-O2",), tmp_path)
    assert text == "" if compiler in proved else text.startswith("refused"), text
    for level in LEVELS if kind == "one after the other" else ():
        assert judge(source, compiler, (level,), tmp_path) == "", level


@pytest.mark.parametrize("compiler", ALL)
@pytest.mark.parametrize("kind", NOT_WALKED)
def test_a_program_in_which_something_else_may_be_is_refused(
    kind: str, compiler: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(compiler)
    program, begin, following, operand = NOT_WALKED[kind]
    source = tmp_path / "f.c"
    source.write_text(TOKENS.format(program=program, begin=begin, next=following, operand=operand))
    for level in LEVELS_OF[compiler]:
        assert judge(source, compiler, (level,), tmp_path).startswith("refused"), level


PROGRAM = """
#include <stdio.h>
static __attribute__((noinline)) int local(int x) { return x * 7 + 1; }
#define F(name, index) \\
static __attribute__((noinline)) int name(unsigned x, unsigned y) \\
{ \\
    static const int t[] = {&&a-&&b, &&b-&&b, &&c-&&b, &&d-&&b, &&e-&&b}; \\
    goto *(&&b + t[index]); \\
    a: return local(x); \\
    b: return local(2 * x) + 1; \\
    c: return local(x ^ y) + 2; \\
    d: y = local(y); \\
    e: return local(y) + 3; \\
}
F(rest, x % 5)
F(of_byte, (unsigned char) x % 5)
F(of_long, (x * 0x123456789ul) % 5)
F(divided, (unsigned char) x / 52)
F(least, x < 4 ? x : 4)
F(bits, __builtin_popcountl(x & 15))
F(back, 4 - x % 5)
F(by, x % (y & 3 | 4))
int main(void)
{
    unsigned x = 1, sum = 0;
    for (int i = 0; i < 3000; i++) {
        x = x * 1103515245 + 12345;
        unsigned y = x >> 7;
        sum = sum * 31 + rest(x, y) + of_byte(x, y) + of_long(x, y) + divided(x, y);
        sum = sum * 31 + least(x >> 29, y) + bits(x >> 5, y) + back(x, y) + by(x % 5, 0);
    }
    printf("%u\\n", sum);
}
"""


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [("gcc-12", "-O2"), ("gcc-12", "-O3 -mcpu=power9"), ("clang-19", "-O2")],
)
def test_a_program_runs_the_same_whatever_its_indexes_are_made_of(
    compiler: str, flags: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(compiler)
    need_compiler("gcc-12")
    if shutil.which(QEMU) is None:
        pytest.skip(f"needs {QEMU}")
    source, text, old = (tmp_path / f"f.{ending}" for ending in ("c", "s", "o"))
    source.write_text(PROGRAM)
    tools = toolchain.Tools(compiler)
    options = tuple(flags.split())
    done = toolchain.run(toolchain.compile_command(tools, options, source, text), cwd=tmp_path)
    assert done.status == 0, done.errors
    text.write_text(assembly.edit(text.read_text()).plain)
    command = [*toolchain.assembler(tools, options), "-o", str(old), str(text)]
    assert toolchain.run(command, cwd=tmp_path).status == 0
    result = rewrite(old.read_bytes())
    assert len(result.report.insertions) >= 8
    new = tmp_path / "new.o"
    new.write_bytes(result.data)
    outputs = []
    for made in (old, new):
        program = made.with_suffix("")
        subprocess.run([*LINK, "-o", str(program), str(made)], check=True)
        outputs.append(subprocess.run([QEMU, str(program)], check=True, capture_output=True).stdout)
    assert outputs[0] == outputs[1] != b""
