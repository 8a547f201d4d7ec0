"""Shrink the source of a failing case until nothing more can go: creduce does the work.

creduce asks a command whether a variant is still interesting.  Here that is: the case has the same
verdict as at first, with the same kind of message.  The result is kept as a regression test: one
file in ``tests/oracle/reduced`` (where there is that folder), whose first line says with which
compiler, checks and flags it failed and how; ``test_reduced.py`` there runs them all.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import baseline, case, plan, sources, toolchain
from nopfix.corpus.case import Case
from nopfix.corpus.toolchain import Tools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nopfix.corpus.case import Result

_TOP = Path(__file__).resolve().parent.parent
#: Where reduced cases are kept as regression tests, in a checkout.
KEPT = _TOP / "tests" / "oracle" / "reduced"
_SEPARATOR = " | "


class Origin(NamedTuple):
    """The first line of a reduced file: how the case failed when it was found."""

    compiler: str
    checks: tuple[str, ...]
    flags: tuple[str, ...]
    failure: str


def origin(file: Path) -> Origin:
    """Read the first line of a reduced file.  Raises ValueError when it isn't one."""
    first = file.read_text("utf-8", "surrogateescape").split("\n", 1)[0]
    compiler, checks, flags, failure = first.removeprefix("// ").split(_SEPARATOR, 3)
    return Origin(compiler, tuple(checks.split(",")), tuple(flags.split()), failure)


def reduced_case(file: Path) -> Case:
    """Return the case that a reduced file stands for."""
    how = origin(file)
    tools = Tools(how.compiler)
    return Case("reduced", file.name, str(file.resolve()), tools, how.flags, how.checks)


def failure(result: Result) -> str:
    """Return what must stay the same while the source shrinks: the verdict and the kind of message,
    without the places, names and numbers in it.
    """
    first = result.detail.splitlines()[-1 if result.verdict == "crashed" else 0 :][:1]
    text = re.sub(r"0x[0-9a-f]+|\d+|'[^']*'", "N", first[0]) if first else ""
    # What follows says which source it was: the bytes that differ, the function with the call.
    if result.verdict in ("differs", "unjudged", "no-slot"):
        text = re.sub(r": (?:\w+ )?got .*| in .*", "", text)
    return f"{result.verdict}: {text}".strip()


class Asked(NamedTuple):
    """What the user says of the case to reduce; None: as it failed, else gcc-12, -O2, and the
    checks oracle and slots.
    """

    compiler: str | None = None
    flags: str | None = None
    checks: str | None = None
    root: str = ""
    assembler: str = ""


def find(name: str, asked: Asked, results: list[Result]) -> Case:
    """Return the case that `name` names: the last failing one of `results` with that source (and
    with that compiler and those flags, where given), else a file, by path or by its name in GCC's
    test suite.

    Raises sources.NoSources.
    """
    corpus = name
    for result in reversed(results):
        compiler = asked.compiler or re.split("[@+]", result.compiler)[0]
        label = Tools(compiler, asked.root, asked.assembler).label()
        if (
            result.source == name
            and baseline.failed(result)
            and asked.flags in (None, result.flags)
            and (not asked.compiler or label == result.compiler)
        ):
            if label != result.compiler:
                raise sources.NoSources(f"{name}: failed with {result.compiler}: say --root, --as")
            checks = asked.checks or result.checks
            corpus = result.corpus
            asked = asked._replace(compiler=compiler, flags=result.flags, checks=checks)
            break
    tools = Tools(asked.compiler or "gcc-12", asked.root, asked.assembler)
    flags, checks = asked.flags or "-O2", asked.checks or "oracle,slots"
    matrix = plan.Matrix(tools, (tuple(flags.split()),), tuple(checks.split(",")))
    made = plan.cases([corpus], [matrix])
    found = [one for one in made if corpus == name or one.name == name]
    if not found or not found[0].tools.compiler:
        raise sources.NoSources(f"{name}: no source that can be reduced")
    return found[0]


def reduce(failing: Case, output: Path | None, jobs: int = 1) -> int:
    """Reduce a failing case; keep the result at `output` (default: `KEPT`, else the folder that we
    are in).  Ctrl-C ends it with what was reached so far.

    Returns 0 when there is a reduced file, 1 when the case doesn't fail, 2 when creduce is missing.
    """
    result = case.run(failing)
    if not baseline.failed(result):
        print(f"{failing.name}: {result.verdict}: nothing to reduce")
        return 1
    creduce = shutil.which("creduce")
    if creduce is None:
        print("nopfix-corpus: creduce: not installed (Debian: apt install creduce)")
        return 2
    wanted = failure(result)
    print(f"{failing.name}: {wanted}", flush=True)
    with tempfile.TemporaryDirectory(prefix="nopfix-reduce-") as name:
        folder = Path(name)
        target = _one_file(failing, folder)
        first = f"// {_SEPARATOR.join(_origin_words(target, wanted))}\n"
        if failure(case.run(target)) != wanted:
            print(f"nopfix-corpus: {failing.name}: doesn't fail any more once preprocessed")
            return 2
        script = folder / "interesting.sh"
        script.write_text(_script(target, wanted))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        file = Path(target.source)
        # creduce keeps the smallest variant so far in the file itself: who stops it has that.
        with contextlib.suppress(KeyboardInterrupt):
            done = subprocess.run(
                [creduce, "--n", str(jobs), str(script), file.name], cwd=folder, check=False
            )
            if done.returncode:
                print(f"nopfix-corpus: creduce ended with status {done.returncode}")
                return 2
        kept = output or (KEPT if KEPT.is_dir() else Path()) / file.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        text = first + file.read_text("utf-8", "surrogateescape")
        kept.write_text(text, "utf-8", "surrogateescape")
    print(f"{kept}: {kept.stat().st_size} bytes")
    return 0


def _origin_words(one: Case, wanted: str) -> tuple[str, ...]:
    return one.tools.compiler, ",".join(one.checks), " ".join(one.flags), wanted


def _one_file(failing: Case, folder: Path) -> Case:
    """Preprocess, so that the source stands alone and headers shrink too; return that case."""
    source = Path(failing.source)
    target = folder / f"reduced-{source.name}"
    command = [*toolchain.compiler(failing.tools), "-w", "-P", "-E", *failing.all_flags()]
    done = toolchain.run(
        [*command, str(source), "-o", str(target)],
        cwd=Path(failing.folder) if failing.folder else None, root=failing.tools.root,
    )  # fmt: skip
    if done.status:
        shutil.copy(source, target)
    flags = tuple(_without_includes(failing.all_flags()))
    return Case("reduced", target.name, str(target), failing.tools, flags, failing.checks)


def _without_includes(flags: tuple[str, ...]) -> Iterator[str]:
    """Leave out what is for the preprocessor alone."""
    words = iter(flags)
    for word in words:
        if word in ("-I", "-D", "-U", "-include", "-isystem", "-iquote"):
            next(words, None)
        elif not word.startswith(("-I", "-D", "-U", "-nostdinc", "-Wp,")):
            yield word


def _script(target: Case, wanted: str) -> str:
    """Write creduce's question as a shell script: exit status 0 means interesting."""
    words = [sys.executable, "-m", "nopfix.corpus.reduce", target.name, wanted, *target.tools]
    words += [",".join(target.checks), *target.flags]
    return (
        "#!/bin/sh\n"
        f"PYTHONPATH={shlex.quote(str(_TOP))}{os.pathsep}$PYTHONPATH\nexport PYTHONPATH\n"
        f"exec {shlex.join(words)}\n"
    )


def main(arguments: list[str]) -> int:
    """Answer creduce: 0 when the file still fails in the same way."""
    name, wanted, compiler, root, assembler, checks, *flags = arguments
    variant = Case(
        "reduced", name, str(Path(name).resolve()), Tools(compiler, root, assembler), tuple(flags),
        tuple(checks.split(",")),
    )  # fmt: skip
    return 0 if failure(case.run(variant)) == wanted else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
