"""Shrink the source of a failing case until nothing more can go: creduce does the work.

creduce asks a command whether a variant is still interesting.  Here that is: the case has the same
verdict as at first, and for a refusal or a crash the same kind of message.  The result is kept as a
file for the regression tests.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from corpus import oracle, sources, toolchain


def _fingerprint(verdict: oracle.Verdict) -> str:
    """Return what must stay the same while the source shrinks: the verdict and the kind of
    message, without the places and numbers in it.
    """
    first = verdict.detail.splitlines()[-1 if verdict.verdict == "crashed" else 0 :][:1]
    text = re.sub(r"0x[0-9a-f]+|\d+|'[^']*'", "N", first[0]) if first else ""
    if verdict.verdict == "differs":
        text = text.split("N")[0]
    return f"{verdict.verdict}: {text}"


def interesting(source: Path, compiler: str, flags: tuple[str, ...], wanted: str) -> bool:
    """Say whether `source` still fails in the way `wanted` says (a fingerprint)."""
    return _fingerprint(oracle.run_case(source, compiler, flags)) == wanted


def find(case: str) -> Path:
    """Return the source that `case` names, by path or by its name in GCC's testsuite."""
    path = Path(case)
    return path if path.exists() else sources.testsuite() / case


def reduce(
    case: str, compiler: str, flags: tuple[str, ...], output: Path | None, jobs: int = 1
) -> int:
    """Reduce a failing case; write the result to `output` (default: ``reduced-NAME`` here).

    Returns 0 when there is a reduced file, 1 when the case doesn't fail, 2 when creduce is missing.
    """
    source = find(case).resolve()
    verdict = oracle.run_case(source, compiler, flags)
    if verdict.verdict in oracle.GOOD:
        print(f"{case}: {verdict.verdict}: nothing to reduce")
        return 1
    creduce = shutil.which("creduce")
    if creduce is None:
        print("nopfix-corpus: creduce: not installed (Debian: apt install creduce)")
        return 2
    wanted = _fingerprint(verdict)
    print(f"{case}: {wanted}")
    with tempfile.TemporaryDirectory(prefix="nopfix-reduce-") as name:
        folder = Path(name)
        target = folder / source.name
        _one_file(source, compiler, flags, target)
        if not interesting(target, compiler, flags, wanted):
            shutil.copy(source, target)
        script = folder / "interesting.sh"
        script.write_text(_script(target.name, compiler, flags, wanted))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        done = subprocess.run(
            [creduce, "--n", str(jobs), str(script), target.name], cwd=folder, check=False
        )
        if done.returncode:
            print(f"nopfix-corpus: creduce ended with status {done.returncode}")
            return 2
        kept = output or Path(f"reduced-{source.name}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        comment = f"// {sources.name_of(source)} with {compiler} {' '.join(flags)}: {wanted}\n"
        kept.write_text(comment + target.read_text("utf-8", "surrogateescape"))
    print(f"{kept}: {kept.stat().st_size} bytes")
    return 0


def _one_file(source: Path, compiler: str, flags: tuple[str, ...], target: Path) -> None:
    """Preprocess, so that the source stands alone and headers shrink too."""
    command = [*toolchain.compiler(compiler), "-w", "-P", "-E", *flags, str(source)]
    done = toolchain.run([*command, "-o", str(target)])
    if done.status:
        shutil.copy(source, target)


def _script(name: str, compiler: str, flags: tuple[str, ...], wanted: str) -> str:
    """Write creduce's question as a shell script: exit status 0 means interesting."""
    top = Path(__file__).resolve().parent.parent
    words = [sys.executable, "-m", "corpus.reduce", name, compiler, wanted, *flags]
    return (
        "#!/bin/sh\n"
        f"PYTHONPATH={shlex.quote(str(top))}{os.pathsep}$PYTHONPATH\nexport PYTHONPATH\n"
        f"exec {shlex.join(words)}\n"
    )


def main(arguments: list[str]) -> int:
    """Answer creduce: 0 when the file still fails in the same way."""
    name, compiler, wanted, *flags = arguments
    return 0 if interesting(Path(name).resolve(), compiler, tuple(flags), wanted) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
