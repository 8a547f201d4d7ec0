"""Kinds of code and data that were once rewritten wrongly or refused, each in several inputs.

Every source is compiled, and the rewritten object compared with what the assembler makes of the
compiler's text with the slots in it; `nopfix-verify` has to agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from nopfix.corpus import case, oracle, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GCC, CLANG = "gcc-12", "clang-19"
CHECKS = ("oracle", "verify")


class Kind(NamedTuple):
    """A source (C, or C++ where ``suffix`` says so), who compiles it, with which options."""

    compiler: str
    flags: str
    source: str
    suffix: str = ".c"
    checks: tuple[str, ...] = CHECKS


LOCAL_CALLS = """
extern int g(int);
static __attribute__((noinline)) int f(int x) { return g(x) + 1; }
int h(int x) { return f(x) + f(x + 2); }
int k(int x) { return f(x) + 3; }
int l(int x) { for (int i = 0; i < x; i++) { f(i); if (f(i + 1)) f(7); } return f(0); }
"""
MANY_CALLS = LOCAL_CALLS + "".join(
    f"int m{i}(int x) {{ return f(x) {'+ f(x - 3) ' * (i % 4)}; }}\n" for i in range(8)
)

TYPES = (
    LOCAL_CALLS
    + """
int m(int x, long y) { return f(x) + 3; }
int n(int x, char *p) { return f(x) + f(*p); }
void o(void) { f(1); f(2); f(3); }
long p(long a, long b, long c) { return f(a) + f(b) + f(c); }
void *table[] = {h, k, l, m, n, o, p, f};
"""
)
HASH_LIKE_A_CALL = """
struct s83 { int a; };
extern int g(int);
static __attribute__((noinline)) int h(int x) { return g(x) + 1; }
int f83(struct s83 *p) { return h(p->a) + h(3); }
"""

PAD_OF_NOPS = """
struct Guard { ~Guard() { asm volatile ("nop"); for (;;) asm volatile (""); } };
[[noreturn]] __attribute__((noinline)) static void fail() { throw 1; }
void work() { Guard guard; fail(); }
"""
PAD_OF_TWO_NOPS = PAD_OF_NOPS.replace('"nop"', '"nop; nop"')

VTABLES = """
int h(int);
static __attribute__((noinline)) int g(int x) {{ return h(x) + 1; }}
{begin}
struct A {{ virtual int a(int x); virtual int b(int x); virtual int c(int); virtual ~A(); int z; }};
struct M {{ virtual int m(int x); virtual int n(int x); int y; }};
struct B : A, M {{ int a(int x) override; int b(int x) override; int n(int x) override; }};
int A::a(int x) {{ return g(x) + g(x + 1); }}
int A::b(int x) {{ return g(x) * g(x + 2); }}
int A::c(int x) {{ return g(x) - g(z); }}
A::~A() {{ g(z); g(z + 1); }}
int M::m(int x) {{ return g(x) ^ g(y); }}
int M::n(int x) {{ return g(x) | g(y); }}
int B::a(int x) {{ return g(g(x)); }}
int B::b(int x) {{ return a(g(x)) + g(2); }}
int B::n(int x) {{ return g(x) + g(y) + g(z); }}
{end}
int use(A *p, M *q) {{ return p->a(g(1)) + p->b(g(2)) + q->m(g(3)) + q->n(g(4)); }}
int run() {{ B b; A a; M m; return use(&b, &m) + use(&a, &b); }}
"""
GROUPS = """
extern "C" int h(int);
namespace {
struct P { virtual int a(int x) = 0; virtual int b(int x) { return h(x) + a(x); }
           virtual int c(int) = 0; };
struct L { virtual int only(int x) { return h(x) - 1; } };
struct G { virtual int gone(int) = delete; virtual int e(int x) { return h(x) * 5; } };
struct B : P, L, G {
  __attribute__((noinline)) int s(int x) { return h(x) + h(x + 1); }
  int a(int x) override { return h(x) + s(x); }
  int only(int x) override { return s(x) * 2; }
  int e(int x) override { return s(x) - 4; }
  int gone(int) = delete;
  int c(int x) override { return s(x); }
};
struct V : virtual L { int only(int x) override { return h(x) + 9; } };
struct W : V, virtual G { int e(int x) override { return h(x) - 4; } };
}
int use(P *p, L *l, G *g) { return p->a(h(1)) + p->b(2) + p->c(3) + l->only(4) + g->e(5); }
int run() { B b; L l; G g; W w; V v; return use(&b, &b, &b) + use(&b, &l, &g) + use(&b, &w, &w)
            + use(&b, &v, &g); }
"""
RELATIVE = "-O1 -fexperimental-relative-c++-abi-vtables"

KINDS = {
    "clang's functions aligned to 64": Kind(CLANG, "-O2 -falign-functions=64", LOCAL_CALLS),
    "clang's functions aligned to 32": Kind(CLANG, "-O2 -falign-functions=32", MANY_CALLS),
    "clang's functions aligned to 128": Kind(CLANG, "-O2 -g -falign-functions=128", LOCAL_CALLS),
    "gcc's functions aligned to 64": Kind(GCC, "-O2 -falign-functions=64", LOCAL_CALLS),
    "type hashes": Kind(CLANG, "-O2 -g -fsanitize=kcfi", TYPES),
    "type hashes in sections apart": Kind(CLANG, "-O1 -fsanitize=kcfi -ffunction-sections", TYPES),
    "a type hash that reads as a call": Kind(CLANG, "-O2 -fsanitize=kcfi", HASH_LIKE_A_CALL),
    "relative vtables": Kind(CLANG, RELATIVE, VTABLES.format(begin="", end=""), ".C"),
    "relative vtables of their own sections": Kind(
        CLANG,
        RELATIVE + " -ffunction-sections -fdata-sections",
        VTABLES.format(begin="", end=""),
        ".C",
    ),
    "relative vtables of local classes": Kind(
        CLANG, RELATIVE, VTABLES.format(begin="namespace {", end="}"), ".C"
    ),
    "relative vtables with gaps, and of one function": Kind(
        CLANG, RELATIVE + " -O2 -fno-inline -g", GROUPS, ".C"
    ),
    # Nothing shows nopfix-verify where a table begins whose first function is missing.
    "relative vtables with gaps, without types": Kind(
        CLANG, RELATIVE + " -O2 -fno-inline -fno-rtti", GROUPS, ".C", ("oracle",)
    ),
    "a landing pad that begins with a nop": Kind(GCC, "-O2", PAD_OF_NOPS, ".C"),
    "a landing pad that begins with nops": Kind(GCC, "-O2 -g", PAD_OF_TWO_NOPS, ".C"),
}


def written(kind: Kind, folder: Path) -> Path:
    """The source of a kind, as a file in ``folder``."""
    source = folder / f"kind{kind.suffix}"
    source.write_text(kind.source)
    return source


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_what_a_compiler_writes_comes_out_as_the_assembler_has_it(
    kind: Kind, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler(kind.compiler)
    source = written(kind, tmp_path)
    own = case.Case(
        "kinds",
        source.name,
        str(source),
        oracle.Tools(kind.compiler),
        tuple(kind.flags.split()),
        kind.checks,
    )
    result = case.run(own)
    assert result.verdict in verdicts.GOOD, result.detail
    assert result.nops > 0


THROWS = """
struct E { int a; E(int x) : a(x) {} ~E(); };
extern int g(int);
extern void ext(int);
static __attribute__((noinline)) int f(int x) { E e(x); if (x > 5) throw e; return g(x) + e.a; }
int h(int x) { try { return f(x) + 1; } catch (E &e) { ext(e.a); return f(x + 1); } }
struct V { virtual int m(int); virtual ~V(); int z; };
int V::m(int x) { return f(x) + z; }
V::~V() { ext(f(z)); }
"""
XRAY = "-fxray-instrument -fxray-instruction-threshold=1"
LEAVES = """
extern int ext(int);
static __attribute__((noinline)) int local(int x) { return ext(x) * 5 + 1; }
""" + "".join(
    f"""
int leaf{n}(int x) {{ return x * {n + 7}; }}
int caller{n}(int x) {{ return {" + ".join(["local(x) * 3"] * n)} + x; }}
"""
    for n in range(1, 6)
)
SLEDS = {
    "functions that begin with one": Kind(CLANG, f"-O2 {XRAY}", LEAVES),
    "exceptions": Kind(CLANG, f"-O2 {XRAY}", THROWS, ".C"),
    "exceptions, debug information": Kind(CLANG, f"-O1 -g {XRAY}", THROWS, ".C"),
    "exceptions, unoptimized": Kind(CLANG, f"-O0 {XRAY}", THROWS, ".C"),
    "C": Kind(CLANG, f"-O2 {XRAY}", LOCAL_CALLS),
}


@pytest.mark.parametrize("kind", SLEDS.values(), ids=SLEDS.keys())
def test_sleds_stay_aligned_and_what_they_keep_in_r0_is_followed(
    kind: Kind, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    """The compiler's text as it is: what aligns a sled in it is meant."""
    need_compiler(kind.compiler)
    source = written(kind, tmp_path)
    flags = tuple(kind.flags.split())
    what = oracle.Compile(source, oracle.Tools(kind.compiler), flags, keep_alignment=True)
    result = oracle.run_case(what, folder=tmp_path)
    assert result.verdict in verdicts.GOOD, result.detail
    assert result.nops > 0
