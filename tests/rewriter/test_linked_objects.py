"""Objects that ``ld -r`` has made of hundreds: every section has as many parts as there are units.

The linker merges what the assembler made of the texts without and with the slots; the first of the
two, rewritten, has to be the second.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nopfix import rewrite
from nopfix.corpus import assembly, compare, toolchain
from nopfix.verifier import verify

SOURCE = """
static __attribute__((noinline)) int f(int x) { return x * 3; }
static inline int i(int y, int *p) {
  int q = f(y);
  for (int j = 0; j < y; j++) q += f(q) - p[j & 3];
  return f(q + 1);
}
int name(int z, int *p) {
  int k = i(z, p);
  switch (z) {
  case 1: k = f(k); break;
  case 2: k += f(3); /* falls through */
  case 3: k -= f(4); break;
  case 4: k ^= f(7); break;
  case 9: k++;
  }
  return f(k) + i(k, p + 1);
}
"""
CASES = [
    # Without padding between units: the linker's isn't like gas's, and no object says which it is.
    ("gcc-12", "-Os -g -gdwarf-5", 200),
    ("gcc-12", "-O2 -g -gdwarf-4 -ffunction-sections", 100),
    ("gcc-12", "-Os -g -gdwarf-5 -gdwarf64", 30),
    ("clang-19", "-O2 -g -gdwarf-5", 30),
]


def text_of(compiler: str, flags: str, folder: Path) -> assembly.Edit:
    """The compiler's text without and with the slots."""
    words = tuple(flags.split())
    (folder / "f.c").write_text(SOURCE)
    command = toolchain.compile_command(toolchain.Tools(compiler), words, Path("f.c"), Path("f.s"))
    assert toolchain.run(command, cwd=folder).status == 0
    return assembly.edit((folder / "f.s").read_text())


def assembled(text: str, assemblers: list[str], folder: Path) -> bytes:
    (folder / "one.s").write_text(text)
    done = toolchain.run([*assemblers, "-o", "one.o", "one.s"], cwd=folder)
    assert done.status == 0, done.errors
    return (folder / "one.o").read_bytes()


def linked(text: str, assemblers: list[str], names: list[str], folder: Path) -> bytes:
    """One object of many: what the text is assembled to, once for each name of its function.

    Names are as long as the one in the text, and replaced in the object: the last one shows that
    this is what gas makes of the text with another name.  LLVM's assembler, which compilers of its
    own name bring along, puts strings into another order then.
    """
    one = assembled(text, assemblers, folder)
    for name in names:
        (folder / f"{name}.o").write_bytes(one.replace(b"name\0", name.encode() + b"\0"))
    last = assembled(text.replace("name", names[-1]), assemblers, folder)
    if not any("clang" in word for word in assemblers):
        assert (folder / f"{names[-1]}.o").read_bytes() == last
    objects = [f"{name}.o" for name in names]
    subprocess.run([toolchain.binutil("ld"), "-r", "-o", "all.o", *objects], cwd=folder, check=True)
    return (folder / "all.o").read_bytes()


@pytest.mark.parametrize(("compiler", "flags", "units"), CASES)
def test_hundreds_of_units_come_out_as_the_linker_makes_them(
    compiler: str, flags: str, units: int, tmp_path: Path
) -> None:
    try:
        made = text_of(compiler, flags, tmp_path)
        command = list(toolchain.assembler(toolchain.Tools(compiler), tuple(flags.split())))
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    # The length of a name is part of the text.
    names = [f"n{number:03}" for number in range(units)]
    plain, want = (linked(text, command, names, tmp_path) for text in (made.plain, made.want))
    result = rewrite(plain)
    assert len(result.report.insertions) == made.nops * units
    assert compare.differences(bytes(result.data), want) == []
    assert verify(plain, bytes(result.data), need_slots=True).verified
