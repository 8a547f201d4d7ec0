"""One case of the oracle: a source, a compiler and its flags in, a verdict out.

Two objects are made from the compiler's assembly (corpus.prepare), without and with the nops; the
rewriter is run on the first one, and the result must equal the second one in every section,
relocation and symbol (corpus.compare)::

    python -m nopfix.corpus.oracle FILE.c -- -O2 -g

prints the verdict and, for an object that differs, the first differences.  ``--keep DIR`` leaves
everything that was made in DIR.

corpus.verdicts has the words for what can come of it.
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

from nopfix.corpus import chroot, compare
from nopfix.corpus.prepare import Compile, Prepared, Verdict, prepare
from nopfix.corpus.toolchain import Tools
from nopfix.corpus.verdicts import GOOD


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
    """Run ``nopfix.rewrite`` on the object at `path`.  Raises Refused."""
    import nopfix

    split = path.with_suffix(".dwo")
    dwo = split.read_bytes() if split.exists() else None
    options = nopfix.Options(dwo={split.name: dwo} if dwo else {})
    try:
        result = nopfix.rewrite(path.read_bytes(), options)
    except nopfix.Refusal as refusal:
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
    begun, cpu_begun = time.perf_counter(), time.thread_time()
    try:
        got = rewrite(prepared.plain)
    except Refused as refusal:
        return base._replace(verdict="refused", detail=str(refusal))
    except Exception:
        return base._replace(verdict="crashed", detail=traceback.format_exc(limit=-4).strip())
    base = base._replace(
        rewrite_time=time.perf_counter() - begun,
        rewrite_cpu=time.thread_time() - cpu_begun,
        size_after=len(got.data),
    )
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
    if prepared.expanded:
        notes.append(f"{sum(prepared.expanded)} branches that no longer reached, expanded")
    return base._replace(verdict="equal", detail="\n".join(notes))


def run_case(
    what: Compile, *, rewrite: Rewriter = rewrite_in_process, folder: Path | None = None
) -> Verdict:
    """Run one whole case; with `folder` its files are left there."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            scratch = tempfile.TemporaryDirectory(prefix="nopfix-oracle-")
            folder = Path(stack.enter_context(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        return judge(prepare(what, folder), rewrite)


# -- the command ----------------------------------------------------------------------------------

_EPILOG = """examples:
  python -m nopfix.corpus.oracle f.c -- -O2 -g
  python -m nopfix.corpus.oracle --cc gcc-11 --keep kept f.C g.C -- -O3 -mcmodel=large
  python -m nopfix.corpus.oracle --no-rewriter f.c -- -O2          (only make plain.o and want.o)
"""


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m nopfix.corpus.oracle",
        description="compare nopfix with the assembler on one or more sources",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--cc", default="gcc-12", help="compiler (default %(default)s)")
    parser.add_argument("--root", type=Path, help="the folder of the system that it lives in")
    parser.add_argument("--as", dest="assembler", default="", help="assembler")
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
    root = str(options.root.resolve()) if options.root else ""
    tools = Tools(options.cc, root, options.assembler)
    chroot.show(root, (Path.cwd(), *(one.resolve().parent for one in options.sources)))
    for source in options.sources:
        folder = options.keep.resolve() if options.keep else None
        if folder is not None and len(options.sources) > 1:
            folder = folder / source.name
        what = Compile(
            source.resolve(), tools, options.flags, keep_alignment=options.alignment_kept
        )
        if options.no_rewriter:
            with tempfile.TemporaryDirectory() as name:
                place = folder or Path(name)
                place.mkdir(parents=True, exist_ok=True)
                verdict = prepare(what, place).verdict
            verdict = verdict._replace(verdict=verdict.verdict or "prepared")
        else:
            verdict = run_case(what, rewrite=rewrite, folder=folder)
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
