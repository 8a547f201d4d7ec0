"""Functions that are hard to follow, as GCC writes them, against the assembler.

Values under such pressure that GCC keeps some in LR and CTR, interpreters with many opcodes: what
Linux is made of, which is compiled for power8 and tuned for power10, without vector registers to
keep values in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal, rewrite
from nopfix.corpus import oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

GCC = "gcc-12"
LINUX = (
    "-mcpu=power8", "-mtune=power10", "-mno-altivec", "-mno-vsx", "-msoft-float",
    "-mtraceback=no", "-fno-align-loops", "-fno-align-jumps", "-fno-align-labels",
)  # fmt: skip

HEAD = """\
extern int outside(void *, long);
struct state { long w[64]; int kind; struct state *next; };
static __attribute__((noinline)) long helper(struct state *p, long x) { return outside(p, x) * 3; }
"""
FUNCTION = """\
long {name}(struct state *p, long k, int n)
{{
    if (!p) return 0;
    {load}
    for (int i = 0; i < n; i++) {{
        {work}
    }}
    {store}
    return helper(p, v1) + k;
}}
"""
CASE = (
    "case {n}: v{a} += v{b} ^ (v{c} >> {n}); v{d} ^= v{e} * {n}; p->kind = v{f} & 15; {call} break;"
)


def pressed(name: str, values: int, cases: int) -> str:
    """A function with more live values than registers, and a switch over ``cases`` among them."""
    load = " ".join(f"long v{i} = p->w[{i}] + k;" for i in range(values))
    store = " ".join(f"p->w[{i}] = v{i};" for i in range(values))
    numbers = (
        {key: (7 * n + at) % values for at, key in enumerate("abcdef")} for n in range(cases)
    )
    arms = [
        CASE.format(n=n, call=f"v{n % values} += helper(p, v{n});" if n == 2 else "", **own)
        for n, own in enumerate(numbers)
    ]
    work = "switch (p->kind) { " + " ".join(arms) + " }" if cases else plain(values)
    return FUNCTION.format(name=name, load=load, store=store, work=work)


def plain(values: int) -> str:
    return " ".join(
        f"v{i} += v{(i + 7) % values} ^ (v{(i + 11) % values} >> {i % 13});" for i in range(values)
    )


TAKEN = "long (*const pointer)(struct state *, long, int) = f;\n"
EXPORTED = """\
asm(".section ___ksymtab+f,\\"a\\"\\n.balign 4\\n.long f - ., 0, 0\\n.previous");
"""

PRESSED = {
    "in a loop": HEAD + pressed("f", 30, 0),
    "around a switch": HEAD + pressed("f", 24, 12),
    "around a switch, by address": HEAD + pressed("f", 24, 12) + TAKEN,
    "around a switch, exported": HEAD + pressed("f", 24, 12) + EXPORTED,
    "many times": HEAD + "".join(pressed(f"f{i}", 22 + i, 8 + i) for i in range(12)),
}


def equal(source: str, compiler: str, flags: Sequence[str], folder: Path) -> str:
    """Hold what nopfix makes of a C source against the assembler; returns the compiler's text."""
    file = folder / "f.c"
    file.write_text(source)
    compile = oracle.Compile(file, oracle.Tools(compiler), tuple(flags))
    verdict = oracle.run_case(compile, folder=folder / "made")
    assert (verdict.verdict, verdict.detail) == ("equal", "")
    return (folder / "made" / "f.s").read_text()


@pytest.mark.parametrize("level", ["-O2", "-O3"])
@pytest.mark.parametrize("source", PRESSED.values(), ids=PRESSED.keys())
def test_values_kept_in_lr(
    source: str, level: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(GCC)
    text = equal(source, GCC, (level, *LINUX), tmp_path)
    assert " mtlr " in text.replace("\t", " ")


INTERPRETER = """\
extern long outside(void *, long);
static __attribute__((noinline)) long helper(void *p, long x) {{ return outside(p, x) * 3; }}
long run(const unsigned *code, long *stack)
{{
    static const void *const jump[] = {{ {labels} }};
    long a = 0, b = 1, *top = stack;
#define NEXT goto *jump[*code++ & 1023]
    NEXT;
{bodies}
}}
"""
BODIES = (
    "op{n}: a += b ^ {n}; NEXT;",
    "op{n}: *top++ = a; b = {n}; NEXT;",
    "op{n}: a = helper(top, a + {n}); NEXT;",
    "op{n}: if (a > {n}) {{ b--; code += a; }} NEXT;",
)


def interpreter(opcodes: int, program: str = INTERPRETER, entry: str = "&&op{n}") -> str:
    labels = ", ".join(entry.format(n=n) for n in range(opcodes))
    bodies = "\n".join(BODIES[n % len(BODIES)].format(n=n) for n in range(opcodes))
    return program.format(labels=labels, bodies=bodies + "\nop_end: return a;")


@pytest.mark.parametrize("opcodes", [10, 62, 250])
@pytest.mark.parametrize("level", ["-O1", "-O2"])
def test_an_interpreter_with_many_opcodes(
    opcodes: int, level: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(GCC)
    flags = (level, "-mtraceback=no", "-fno-align-loops", "-fno-align-jumps", "-fno-align-labels")
    source = interpreter(opcodes).replace("&&op0,", "&&op_end,", 1).replace("op0:", "", 1)
    equal(source, GCC, flags, tmp_path)


FILLED_BY_A_CALL = """\
extern int get(long *, long);
static __attribute__((noinline)) int add(long x, long y) { return get(&x, y) * 3; }
int run(long x)
{
    long words[4] = { 0 };
    if (get(words, x))
        return -1;
    switch (words[0]) {
    case 4: return add(x, 1) + 2;
    case 5: return add(x, 7) * 5;
    case 6: case 9: return add(x, 9) - 3;
    case 7: return add(words[1], 2) + add(x, 3);
    case 8: return add(words[2], x) ^ 4;
    case 10: return add(x, words[3]) + 6;
    }
    return 0;
}
"""


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-Os"])
@pytest.mark.parametrize("compiler", [GCC, "clang-19"])
def test_a_number_put_on_the_stack_is_no_index_behind_a_call_that_may_change_it(
    compiler: str, level: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(compiler)
    flags = (level, "-mno-vsx", "-mno-altivec")  # as a kernel's: each word is stored by itself
    equal(FILLED_BY_A_CALL, compiler, flags, tmp_path)


SHARED_JUMP = """\
extern long outside(void *, long);
static __attribute__((noinline)) long helper(void *p, long x) {{ return outside(p, x) * 3; }}
long run(const unsigned short *code, long *stack)
{{
    static const int jump[] = {{ {labels} }};
    long a = 0, b = 1, *top = stack;
#define NEXT goto *(&&op_end + jump[*code++])
    NEXT;
{bodies}
}}
"""


@pytest.mark.parametrize("opcodes", [40, 250])
@pytest.mark.parametrize("level", ["-O0", "-Os"])
def test_opcodes_that_share_one_jump_through_label_differences(
    opcodes: int, level: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(GCC)
    source = interpreter(opcodes, SHARED_JUMP, "&&op{n} - &&op_end")
    text = equal(source, GCC, (level, "-mtraceback=no"), tmp_path)
    assert text.count("bctr") < opcodes / 4


MASKED = """\
extern long outside(void *, long);
static __attribute__((noinline)) long helper(void *p, long x) {{ return outside(p, x) * 3; }}
long run(const unsigned char *code, long *stack, long n)
{{
    long a = 0, b = 1;
    while (n--) switch (*code++{mask}) {{
{cases}
    {default}
    }}
    return a ^ b;
}}
"""
ARMS = (
    "case {n}: a += b ^ {n}; break;",
    "case {n}: a = helper(stack, a + {n}); break;",
    "case {n}: *stack++ = a * {n}; b -= {n}; break;",
)


def masked(cases: int, mask: str, default: str) -> str:
    arms = "\n".join(ARMS[n % len(ARMS)].format(n=n) for n in range(cases))
    return MASKED.format(mask=mask, cases=arms, default=default)


SWITCHES = {
    "by fewer cases than a mask allows": masked(82, " & 127", ""),
    "by all that a mask allows": masked(64, " & 63", ""),
    "by a byte, all others out of reach": masked(9, "", "default: __builtin_unreachable();"),
    "by a byte, many": masked(200, "", ""),
}


@pytest.mark.parametrize("compiler", [GCC, "clang-19"])
@pytest.mark.parametrize("source", SWITCHES.values(), ids=SWITCHES.keys())
def test_a_switch(
    source: str, compiler: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(compiler)
    # LLVM up to 17 makes tables of so few cases by default.
    flags = ("-mllvm", "-ppc-min-jump-table-entries=4") if compiler.startswith("clang") else ()
    equal(source, compiler, ("-O2", *flags), tmp_path)


STATES = """\
extern void outside(long);
static __attribute__((noinline)) void helper(long x) { outside(x); outside(x + 1); }
long f(const long *p, long k)
{
    long s = p[0] * p[1], v = k;
    for (int i = 0; i < k; i++) {
        switch (s * s + v) {
        case 1: v += s; break;
        case 2: v ^= s << 3; break;
        case 3: v *= 5; helper(v); break;
        case 4: v -= s * 3; helper(s); break;
        case 5: v = s ^ 3; helper(k); break;
        }
        s = s * v;
    }
    helper(v);
    return v + s;
}
"""


def test_a_switch_of_the_large_model_by_what_a_loop_computes(
    tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    """Its table has numbers that no relocation marks; what it's switched by is no plain product."""
    need_compiler("clang-19")
    flags = ("-O2", "-mcmodel=large", "-mllvm", "-ppc-min-jump-table-entries=4")
    assert "bctr" in equal(STATES, "clang-19", flags, tmp_path)


# -- hand-written code that reads the program counter, data in front of it -------------------------

CALLER = """\
 .globl f
 .type f,@function
f: mflr 11
 bl consts
SLOT mtlr 11
 lvx 2,0,6
 blr
 .size f,.-f
"""
CONSTS = """\
consts: mflr 0
 bcl 20,31,$+4
 mflr 6
 addi 6,6,-0x48
 mtlr 0
 blr
"""
TABLE = " .long 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16\n"
READS_DATA = {
    "behind a function, aligned to 64": CALLER + " .balign 64\ntable:" + TABLE + CONSTS,
    "behind a function, aligned to 128": CALLER + " .balign 128\ntable:" + TABLE + CONSTS,
    "at the start of the section": "table:" + TABLE + CONSTS + " .balign 16\n" + CALLER,
}


@pytest.mark.parametrize("source", READS_DATA.values(), ids=READS_DATA.keys())
def test_lr_that_is_kept_over_a_read_of_the_program_counter_is_a_return(
    source: str, assemble: Callable[..., bytes]
) -> None:
    plain, want = (assemble(" .abiversion 2\n" + source.replace("SLOT", w)) for w in ("", " nop\n"))
    assert rewrite(plain).data == want


def test_a_branch_over_padding_that_is_reached_still_leads_on(
    assemble: Callable[..., bytes],
) -> None:
    # The same words as long padding, but r9 is computed on the way there.
    text = (
        " .abiversion 2\n .type f,@function\nf: bl f\n cmpwi 3,0\n beq 1f\n addi 9,3,4\n mtctr 9\n"
        + "1: b 2f\n"
        + " nop\n" * 11
        + "2: bctr\n .size f,.-f\n"
    )
    with pytest.raises(Refusal, match="can't be followed"):
        rewrite(assemble(text))
