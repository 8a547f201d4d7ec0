"""One case of the oracle: a source, a compiler and its flags in, a verdict out.

The compiler's assembly is edited twice (corpus.assembly), both texts are assembled with the same
assembler and the same flags, the rewriter is run on the first object, and the result must equal
the second one in every section, relocation and symbol (corpus.compare)::

    python -m corpus.oracle FILE.c -- -O2 -g

prints the verdict and, for an object that differs, the first differences.  ``--keep DIR`` leaves
everything that was made in DIR.

Verdicts, in the words used all over the reports:

=================  ================================================================================
equal              rewritten, and equal to the assembler's object (``detail``: by which rule)
unchanged          no call lacks its slot, and the output is the input byte for byte
differs            rewritten, and not equal: ``detail`` says where
refused            the rewriter refused: ``detail`` is its line
unjudged           a call site's address index needs a longer uleb128 than the text can express
crashed            the rewriter raised something that is no refusal
compile-failed     the compiler refused the source with these flags, or the assembler its output
assemble-failed    the assembler refused the nops (a branch that no longer reaches)
=================  ================================================================================
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from corpus import assembly, compare, toolchain

#: Verdicts that are what we want.
GOOD = frozenset({"equal", "unchanged"})


class Verdict(NamedTuple):
    """What became of one case.

    `verdict` is one of the words above and `detail` the first differences, the refusal or the
    tool's complaint, one per line.  `nops` is the number of nops the oracle has inserted.  Sizes
    are in bytes, times in seconds; a step that was not reached has 0.
    """

    verdict: str
    detail: str = ""
    nops: int = 0
    size_before: int = 0
    size_after: int = 0
    compile_time: float = 0.0
    assemble_time: float = 0.0
    prepare_time: float = 0.0
    rewrite_time: float = 0.0
    unwritable_indices: int = 0


class Refused(Exception):
    """The rewriter refused the object; the text is its line."""


class Rewritten(NamedTuple):
    """What a rewriter gave: the object, and the split DWARF file where there is one."""

    data: bytes
    dwo: bytes | None


#: A rewriter as the oracle sees it: the object's path in, with a .dwo of the same stem beside it
#: for split DWARF; the rewritten bytes out.
Rewriter = Callable[[Path], Rewritten]


def rewrite_in_process(path: Path) -> Rewritten:
    """Run ``rewriter.rewrite`` on the object at `path`.  Raises Refused."""
    import rewriter

    split = path.with_suffix(".dwo")
    dwo = split.read_bytes() if split.exists() else None
    options = rewriter.Options(dwo={split.name: dwo} if dwo else {})
    try:
        result = rewriter.rewrite(path.read_bytes(), options)
    except rewriter.Refusal as refusal:
        raise Refused(str(refusal)) from refusal
    return Rewritten(bytes(result.data), result.dwo.get(split.name, dwo))


def rewrite_by_command(command: list[str]) -> Rewriter:
    """Return a Rewriter that runs ``command IN OUT`` (on the object; not for split DWARF)."""

    def rewrite(path: Path) -> Rewritten:
        output = path.with_name("got.o")
        done = subprocess.run(
            [*command, str(path), str(output)], capture_output=True, text=True, check=False
        )
        if done.returncode in (1, 3):
            raise Refused(done.stderr.strip())
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip()}")
        return Rewritten(output.read_bytes(), None)

    return rewrite


class Prepared(NamedTuple):
    """The files of a case before the rewriter runs, or the verdict that ended it early."""

    verdict: Verdict
    plain: Path
    want: Path


def prepare(
    source: Path,
    cc: str,
    flags: tuple[str, ...],
    folder: Path,
    *,
    keep_alignment: bool = False,
    compile_in: Path | None = None,
) -> Prepared:
    """Compile `source` and assemble ``plain.o`` and ``want.o`` in `folder`.

    The compiler runs in `compile_in` where that is given, else in `folder` too.

    The verdict's word is "" when both are there.  Raises ToolError when a tool is missing.
    """
    begun = time.perf_counter()
    prepared = _prepare(source, cc, flags, folder, keep_alignment, compile_in or folder)
    verdict = prepared.verdict._replace(prepare_time=time.perf_counter() - begun)
    return prepared._replace(verdict=verdict)


def _prepare(
    source: Path,
    cc: str,
    flags: tuple[str, ...],
    folder: Path,
    keep_alignment: bool,
    compile_in: Path,
) -> Prepared:
    text, plain, want = folder / "f.s", folder / "plain.o", folder / "want.o"
    begun = time.perf_counter()
    done = toolchain.run(
        toolchain.compile_command(cc, flags, source, text), cwd=compile_in or folder
    )
    compile_time = time.perf_counter() - begun
    if done.status:
        return Prepared(
            Verdict("compile-failed", done.errors.strip(), compile_time=compile_time), plain, want
        )
    edit = assembly.edit(text.read_text("utf-8", "surrogateescape"), keep_alignment=keep_alignment)
    command = list(toolchain.assembler(cc, flags))
    assemble_time = 0.0
    for name, content, output in (("plain", edit.plain, plain), ("want", edit.want, want)):
        if name == "want" and not edit.nops:
            break
        file = folder / f"{name}.s"
        file.write_text(content, "utf-8", "surrogateescape")
        begun = time.perf_counter()
        done = toolchain.run([*command, "-o", str(output), str(file)], cwd=folder)
        if done.status:
            word = "compile-failed" if name == "plain" else "assemble-failed"
            detail = f"{name}.s: {done.errors.strip()}"
            return Prepared(
                Verdict(word, detail, edit.nops, compile_time=compile_time),
                plain,
                want,
            )
        assemble_time = assemble_time or time.perf_counter() - begun
        if "-gsplit-dwarf" in flags and not toolchain.is_clang(cc):
            _split(output)
    return Prepared(
        Verdict(
            "",
            nops=edit.nops,
            size_before=plain.stat().st_size,
            compile_time=compile_time,
            assemble_time=assemble_time,
            unwritable_indices=edit.unwritable_indices,
        ),
        plain,
        want,
    )


def _split(path: Path) -> None:
    """Move the split DWARF of an object into a .dwo beside it, as GCC's driver does."""
    objcopy = toolchain.binutil("objcopy")
    toolchain.run([objcopy, "--extract-dwo", str(path), str(path.with_suffix(".dwo"))])
    toolchain.run([objcopy, "--strip-dwo", str(path)])


def judge(
    prepared: Prepared,
    rewrite: Rewriter = rewrite_in_process,
    *,
    compare_with_want: bool = True,
) -> Verdict:
    """Run the rewriter on a prepared case and compare; ``got.o`` is left beside ``plain.o``.

    Without `compare_with_want` an object that was changed is just "rewritten".
    """
    base = prepared.verdict
    if base.verdict:
        return base
    begun = time.perf_counter()
    try:
        got = rewrite(prepared.plain)
    except Refused as refusal:
        return base._replace(verdict="refused", detail=str(refusal))
    except Exception:
        return base._replace(verdict="crashed", detail=traceback.format_exc(limit=-4).strip())
    base = base._replace(rewrite_time=time.perf_counter() - begun, size_after=len(got.data))
    (prepared.plain.parent / "got.o").write_bytes(got.data)
    if got.dwo is not None:
        (prepared.plain.parent / "got.dwo").write_bytes(got.dwo)
    if not base.nops:
        if got.data == prepared.plain.read_bytes():
            return base._replace(verdict="unchanged")
        detail = ["no call lacks its slot, but the object was changed"]
        detail += compare.differences(got.data, prepared.plain.read_bytes())
        return base._replace(verdict="differs", detail="\n".join(detail))
    if not compare_with_want:
        return base._replace(verdict="rewritten")
    notes: list[str] = []
    try:
        found = compare.differences(got.data, prepared.want.read_bytes(), notes=notes)
        if got.dwo is not None:
            wanted = prepared.want.with_suffix(".dwo").read_bytes()
            found += [f".dwo: {line}" for line in compare.differences(got.dwo, wanted)]
    except Exception as error:
        return base._replace(verdict="differs", detail=f"unreadable output: {error}")
    if found and base.unwritable_indices:
        return base._replace(verdict="unjudged", detail="\n".join(found))
    if found:
        return base._replace(verdict="differs", detail="\n".join(found))
    return base._replace(verdict="equal", detail="\n".join(notes))


def run_case(
    source: Path,
    cc: str,
    flags: tuple[str, ...],
    *,
    rewrite: Rewriter = rewrite_in_process,
    folder: Path | None = None,
    keep_alignment: bool = False,
    compile_in: Path | None = None,
) -> Verdict:
    """Run one whole case; with `folder` its files are left there."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            scratch = tempfile.TemporaryDirectory(prefix="nopfix-oracle-")
            folder = Path(stack.enter_context(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        prepared = prepare(
            source, cc, flags, folder, keep_alignment=keep_alignment, compile_in=compile_in
        )
        return judge(prepared, rewrite)


# -- the command ----------------------------------------------------------------------------------

_EPILOG = """examples:
  python -m corpus.oracle f.c -- -O2 -g
  python -m corpus.oracle --cc gcc-11 --keep kept f.C g.C -- -O3 -mcmodel=large
  python -m corpus.oracle --no-rewriter f.c -- -O2          (only make plain.o and want.o)
"""


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m corpus.oracle",
        description="compare nopfix with the assembler on one or more sources",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--cc", default="gcc-12", help="compiler (default %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the files made in DIR")
    parser.add_argument("--alignment-kept", action="store_true", help="keep inner alignment")
    parser.add_argument("--command", help="run this command IN OUT in place of the library")
    parser.add_argument("--no-rewriter", action="store_true", help="stop after want.o")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the verdicts")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parsed = parser.parse_args(arguments[:split])
    parsed.flags = tuple(arguments[split + 1 :])
    return parsed


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0 when every verdict is a good one, else 1."""
    options = _arguments(sys.argv[1:] if arguments is None else arguments)
    rewrite: Rewriter = rewrite_in_process
    if options.command:
        rewrite = rewrite_by_command(shlex.split(options.command))
    worst = 0
    for source in options.sources:
        folder = options.keep
        if folder is not None and len(options.sources) > 1:
            folder = folder / source.name
        if options.no_rewriter:
            with tempfile.TemporaryDirectory() as name:
                place = folder or Path(name)
                place.mkdir(parents=True, exist_ok=True)
                verdict = prepare(
                    source.resolve(), options.cc, options.flags, place.resolve(),
                    keep_alignment=options.alignment_kept,
                ).verdict  # fmt: skip
            verdict = verdict._replace(verdict=verdict.verdict or "prepared")
        else:
            verdict = run_case(
                source.resolve(), options.cc, options.flags, rewrite=rewrite,
                folder=folder.resolve() if folder else None,
                keep_alignment=options.alignment_kept,
            )  # fmt: skip
        worst |= verdict.verdict not in GOOD | {"prepared"}
        times = f"{1e3 * verdict.rewrite_time:.1f} ms, as {1e3 * verdict.assemble_time:.1f} ms"
        print(f"{verdict.verdict:16}{source} ({verdict.nops} nops, {times})")
        if verdict.detail and not options.quiet:
            print("  " + verdict.detail.replace("\n", "\n  "))
    sys.stdout.flush()
    return worst


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    sys.exit(main())
