"""Registers that a caller may not count on once a call leaves the module.

With -fipa-ra (in -O2) GCC lets a caller keep values in registers that a local callee is seen to
leave alone, r11, r12 or CTR among them.  A call with a slot may go by way of a stub, which uses r12
and CTR and may use r11 (ELFv2 ABI, 2.2.1.1), so such a caller must not get one.

GCC does that only for targets whose calls name what a stub clobbers
(TARGET_CALL_FUSAGE_CONTAINS_NON_CALLEE_CLOBBERS, GCC internals; final.cc), and rs6000 is none of
them.  Should a GCC make other code for this source with it, slots are not safe with that GCC.
"""

from __future__ import annotations

import os
import re
import subprocess

import pytest

SOURCE = """
static __attribute__((noinline, noclone)) long leaf(long x) { return x * 3; }
long many(long *p, long a, long b, long c, long d, long e, long f, long g)
{
    long h = p[0], i = p[1], j = p[2], k = p[3], l = p[4], m = p[5], n = p[6], o = p[7];
    long q = p[8], r = p[9], s = p[10], t = p[11], u = p[12], v = p[13], w = p[14], y = p[15];
    long z = leaf(a);
    return z + a*b + c*d + e*f + g*h + i*j + k*l + m*n + o*q + r*s + t*u + v*w + y*p[16];
}
long loop(long *p, long n)
{
    long s = 0;
    for (long i = 0; i < n; i++)
        s += leaf(p[i]) ^ i;
    return s;
}
"""
COMPILERS = sorted(
    {
        name
        for folder in os.get_exec_path()
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if re.fullmatch(r"powerpc64le-linux-gnu-gcc-\d+", name)
    }
)


@pytest.mark.skipif(not COMPILERS, reason="needs a GCC for powerpc64le")
@pytest.mark.parametrize("level", ["-O2", "-O3", "-Os"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_gcc_counts_on_the_registers_that_a_local_callee_leaves_alone(
    compiler: str, level: str
) -> None:
    with_it, without = (
        subprocess.run(
            [compiler, level, option, "-S", "-xc", "-o", "-", "-"],
            input=SOURCE, capture_output=True, text=True, check=True,
        ).stdout
        for option in ("-fipa-ra", "-fno-ipa-ra")
    )  # fmt: skip
    assert "bl leaf" in with_it
    assert with_it == without
