"""Kernel-like C: every special section in every kind of code that has calls around it.

A source is a *shape* (C code with calls of static functions, so that the compiler leaves slots out)
in which ``MARK`` stands at many places, and a *mark*: inline assembly that makes an entry in one
special section for the place where it stands.  The sections are laid out as the kernel's headers
lay them out; the code is our own.
"""

from __future__ import annotations

from typing import NamedTuple

# What the kernel passes for a ppc64le kernel with livepatching, without warnings and include paths.
_KERNEL_FLAGS = """
-std=gnu11 -O2 -g -fno-strict-aliasing -fno-common -fshort-wchar -fno-PIE -mlittle-endian -m64
-msoft-float -pipe -mtraceback=no -mabi=elfv2 -mno-pointers-to-nested-functions -mcpu=power8
-mtune=power10 -mno-prefixed -mno-pcrel -mno-altivec -mno-vsx -fno-asynchronous-unwind-tables
-mno-string -Wa,-maltivec -Wa,-mpower4 -Wa,-many -mno-strict-align
-fno-delete-null-pointer-checks -fno-allow-store-data-races -fno-stack-protector
-ftrivial-auto-var-init=zero -fno-stack-clash-protection -pg -mprofile-kernel
-fno-strict-overflow -fno-stack-check -fconserve-stack
"""
KERNEL_FLAGS = tuple(_KERNEL_FLAGS.split())
MEDIUM = ("-mcmodel=medium",)
KPATCH = ("-mcmodel=large", "-ffunction-sections", "-fdata-sections")
# Since 6.13 a kernel may have ftrace's nops at a function's start instead of a call of _mcount.
PATCHABLE_FLAGS = tuple(
    flag for flag in KERNEL_FLAGS if flag not in ("-pg", "-mprofile-kernel")
) + ("-fpatchable-function-entry=2",)
# GCC can't know which alignment it would have wanted inside functions had the nops been there.
UNALIGNED = ("-fno-align-loops", "-fno-align-jumps", "-fno-align-labels")


class Source(NamedTuple):
    """One C file: its name without suffix and its text."""

    name: str
    text: str


_COMMON = """\
typedef unsigned long ulong;
struct node { struct node *next; long key; int (*visit)(struct node *, long); };
extern long outside(long, ...);
extern long other(struct node *, long);
#define noinline __attribute__((__noinline__))
#define cold __attribute__((__cold__, __noinline__))
#define in_section(name) __attribute__((section(name)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
"""

_FEATURE = """\
#define MARK(x) asm volatile( \\
\t"1: {body}\\n2:\\n" \\
\t".pushsection __ftr_alt_97,\\"a\\"\\n.align 2\\n3: {alternative}\\n4:\\n.popsection\\n" \\
\t".pushsection {section},\\"a\\"\\n.align 3\\n5: .8byte 1\\n.8byte 1\\n" \\
\t".8byte 1b-5b\\n.8byte 2b-5b\\n.8byte 3b-5b\\n.8byte 4b-5b\\n" \\
\t".ifgt (4b-3b)-(2b-1b)\\n.error \\"alternative too large\\"\\n.endif\\n.popsection\\n" \\
\t: : "r"(x) : "memory", "cc", "lr", "ctr", "r0", "r3", "r4", "r5", "r6", "r7", "r8", "r9", \\
\t"r10", "r11", "r12")
"""


def _feature(section: str, body: str, alternative: str) -> str:
    return _FEATURE.format(section=section, body=body, alternative=alternative)


def _word(section: str, instructions: str) -> str:
    return (
        f'#define MARK(x) asm volatile("1: {instructions}\\n.pushsection {section},\\"a\\"\\n'
        '.align 2\\n2: .8byte 1b-2b\\n.popsection\\n" : : "r"(x) : "memory")\n'
    )


MARKS = {
    "bug_table": (
        '#define MARK(x) asm volatile("1: tdnei %0,0\\n.section __bug_table,\\"aw\\"\\n'
        "2: .4byte 1b - .\\n.4byte 9f - .\\n.short 7, 1\\n.org 2b+12\\n.previous\\n"
        '.section .rodata.str,\\"a\\"\\n9: .asciz \\"file.c\\"\\n.previous\\n" : : "r"(x))\n'
    ),
    "warn": (
        "#define MARK(x) do { __label__ warned; asm goto("
        '"1: tdnei %0,0\\n.section __ex_table,\\"a\\"\\n.balign 4\\n.long 1b - .\\n'
        '.long %l[warned] - .\\n.previous\\n" : : "r"(x) : : warned); warned: ; } while (0)\n'
    ),
    "jump_label": (
        "extern ulong key;\n#define MARK(x) do { __label__ yes, no; asm goto("
        '"1: nop\\n.pushsection __jump_table,\\"aw\\"\\n.long 1b - ., %l[yes] - .\\n'
        '.8byte key - .\\n.popsection\\n" : : : : yes);'
        " goto no; yes: outside(x); no: ; } while (0)\n"
    ),
    "ex_table": (
        '#define MARK(x) ({ long error, value; asm volatile("1: ld %1,0(%2)\\n2:\\n'
        '.section .fixup,\\"ax\\"\\n3: li %0,-14\\nli %1,0\\nb 2b\\n.previous\\n'
        '.section __ex_table,\\"a\\"\\n.balign 4\\n.long 1b - .\\n.long 3b - .\\n.previous\\n"'
        ' : "=r"(error), "=r"(value) : "b"(x), "0"(0)); error + value; })\n'
    ),
    "ftr_fixup": _feature("__ftr_fixup", "nop; nop; mr 3,4", "mtspr 29,3; isync"),
    "mmu_ftr_fixup": _feature("__mmu_ftr_fixup", "slbia; isync", "isync; isync"),
    "fw_ftr_fixup": _feature("__fw_ftr_fixup", "bl outside; mr 4,3; mr 5,3", "li 3,0"),
    "ftr_branch": _feature("__ftr_fixup", "b 8f; nop; 8: nop", "li 3,1; b 4f; nop; 4:"),
    "lwsync_fixup": _word("__lwsync_fixup", "lwsync"),
    "nospec_barrier": _word("__barrier_nospec_fixup", "nop; nop"),
    "stf_barrier": _word("__stf_exit_barrier_fixup", "nop; nop; nop; nop; nop; nop"),
    "btb_flush": (
        '#define MARK(x) asm volatile("1: nop\\n2:\\n.pushsection __btb_flush_fixup,\\"a\\"\\n'
        '.align 3\\n3: .8byte 1b-3b\\n.8byte 2b-3b\\n.popsection\\n" : : "r"(x) : "memory")\n'
    ),
    "static_call": (
        "extern ulong key;\n"
        '#define MARK(x) asm volatile("1: bl outside\\n.pushsection .static_call_sites,\\"aw\\"\\n'
        '.long 1b - ., key - .\\n.popsection\\n" : : "r"(x) : "memory", "cc", "lr", "ctr", "r0",'
        ' "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12")\n'
    ),
    "restart_table": (
        '#define MARK(x) asm volatile("1: nop\\n2: nop\\n3:\\n'
        '.section __restart_table,\\"a\\"\\n.balign 8\\n.8byte 1b, 2b, 3b\\n.previous\\n'
        '.section __soft_mask_table,\\"a\\"\\n.balign 8\\n.8byte 1b, 3b\\n.previous\\n"'
        ' : : "r"(x) : "memory")\n'
    ),
    "registration": (
        "#define MARK(x) do { static const struct { const char *text; long (*where)(long, ...); } "
        'index in_section(".printk_index") = { "text", outside }; '
        'asm volatile("" : : "r"(&index)); outside(x); } while (0)\n'
        'asm(".section .initcall4.init,\\"a\\"\\n.long entry - .\\n.previous\\n'
        '.section _kprobe_blacklist,\\"aw\\"\\n.balign 8\\n.8byte entry\\n.previous\\n'
        '.section ___ksymtab+entry,\\"a\\"\\n.balign 4\\n.long entry - ., 0\\n.previous\\n");\n'
    ),
}
"""For each special section, what makes an entry in it."""

SHAPES = {
    "helpers": """\
static noinline long scale(long v) { MARK(v); return v * 3 + outside(v); }
static noinline long clamp(long v, long top) { if (v > top) { MARK(top); return top; } return v; }
static noinline void note(struct node *n) { MARK(n->key); n->key = scale(n->key); }
long entry(struct node *n, long top)
{
\tlong sum = 0;

\twhile (n) {
\t\tnote(n);
\t\tif (likely(n->key < top))
\t\t\tsum += clamp(scale(n->key), top);
\t\telse if (n->visit)
\t\t\tsum -= n->visit(n, clamp(sum, top));
\t\tMARK(sum);
\t\tn = n->next;
\t}
\treturn clamp(sum, scale(top));
}
long twice(struct node *n) { return entry(n, 1) + entry(n, 2); }
""",
    "dispatch": """\
static noinline long step(long a, long b) { MARK(a); return a ^ outside(b); }
long entry(struct node *n, long op)
{
\tlong r = op;

\tswitch (op) {
\tcase 0: r = step(n->key, 1); break;
\tcase 1: MARK(op); r = step(n->key, 2) + step(r, 3); break;
\tcase 2: r = outside(n->key); break;
\tcase 3: r = step(step(op, 4), 5); MARK(r); break;
\tcase 4: r = n->visit(n, step(op, 6)); break;
\tcase 5: n->key = step(n->key, 7); /* fall through */
\tcase 6: MARK(r); r = step(n->key, 8); break;
\tcase 7: r = step(r, 9) * step(r, 10); break;
\tcase 8: return step(r, 11);
\tcase 9: r -= step(r, 12); MARK(n->key); break;
\tdefault: MARK(op); r = -22;
\t}
\treturn step(r, op) + r;
}
""",
    "errors": """\
static cold void complain(long code, const char *what) { outside(code, what); MARK(code); }
static noinline int open_it(struct node *n) { MARK(n->key); return outside((long)n) < 0 ? -5 : 0; }
static noinline void close_it(struct node *n) { n->key = 0; MARK(n->key); outside((long)n); }
int entry(struct node *a, struct node *b, struct node *c)
{
\tint error = open_it(a);

\tif (unlikely(error)) {
\t\tcomplain(error, "a");
\t\tgoto out;
\t}
\terror = open_it(b);
\tif (unlikely(error)) {
\t\tcomplain(error, "b");
\t\tMARK(a->key);
\t\tgoto close_a;
\t}
\terror = open_it(c);
\tif (likely(!error))
\t\treturn outside(a->key + b->key + c->key);
\tcomplain(error, "c");
\tclose_it(b);
close_a:
\tclose_it(a);
out:
\tMARK(error);
\treturn error;
}
static in_section(".init.text") cold int setup(struct node *n)
{
	return entry(n, n, n) + open_it(n);
}
in_section(".sched.text") long wait_for(struct node *n)
{
\tlong left = setup(n);

\tdo {
\t\tMARK(left);
\t\tclose_it(n);
\t\tleft = open_it(n);
\t} while (left > 0 && n->visit && n->visit(n, left));
\treturn left;
}
""",
}
"""For each kind of code, its text."""


def sources() -> list[Source]:
    """All combinations of marks and shapes."""
    return [
        Source(f"{mark}-{shape}", _COMMON + MARKS[mark] + SHAPES[shape])
        for mark in MARKS
        for shape in SHAPES
    ]
