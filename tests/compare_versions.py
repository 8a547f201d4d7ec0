"""Two versions of the rewriter over a folder of objects: what comes out otherwise.

    python tests/compare_versions.py --old REV [--new REV] [--limit N] [--log FILE] FOLDER...

OLD and NEW are git revisions, each unpacked into a temporary folder and run there in a process of
its own; without --new it is the working tree.  Every file below the folders that begins as an ELF
file does is rewritten by both, one after the other, nothing is written.  What differs is listed by
kind, with an example of each:

bytes      both rewrote it, to different objects
refused    only NEW refuses it; the refusal's words
rewritten  only OLD refused it; the words that are gone
words      both refuse it, with different words
failed     one of them ended in an error that isn't a refusal

At the end stand the verdicts of each version and the processor time of both, all objects together
and for the objects that took longest.  Exit status: 0 no difference, 1 differences.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

ROOT = Path(__file__).parents[1]
PACKAGES = ("nopfix", "rewriter", "dwarf")
EXAMPLES = 3
SLOWEST = 5


class Verdict(NamedTuple):
    """What became of one object: "rewritten", "unchanged", "refused" or "failed".

    ``text`` is the new object's hash, the refusal or the error; ``slots`` the nops put in;
    ``seconds`` processor time.
    """

    kind: str
    text: str
    slots: int
    seconds: float


# -- in the process of one version -----------------------------------------------------------------


def serve() -> None:
    """Rewrite the objects whose paths come on standard input, one a line; a JSON line for each."""

    # Once the packages stood on the path by themselves; an installed nopfix is neither version.
    nopfix = import_module("nopfix" if Path("nopfix").is_dir() else "rewriter")
    assert Path(str(nopfix.__file__)).is_relative_to(Path.cwd())
    for line in sys.stdin:
        data = Path(line.rstrip("\n")).read_bytes()
        start = time.process_time()
        kind, text, slots = _judge(nopfix, data)
        verdict = Verdict(kind, text, slots, time.process_time() - start)
        print(json.dumps(verdict), flush=True)


def _judge(nopfix: ModuleType, data: bytes) -> tuple[str, str, int]:
    try:
        result = nopfix.rewrite(data)
    except nopfix.Refusal as refusal:
        return "refused", str(refusal), 0
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}", 0
    kind = "unchanged" if result.data == data else "rewritten"
    return kind, hashlib.sha256(result.data).hexdigest(), len(result.report.insertions)


# -- both of them ----------------------------------------------------------------------------------


class Version:
    """One version of the rewriter, waiting for objects in a process of its own."""

    def __init__(self, folder: Path) -> None:
        """Start the version whose files lie in ``folder``."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(Path(__file__).parent), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )

    def ask(self, path: Path) -> None:
        """Begin with the object at ``path``."""
        _pipe(self._process.stdin).write(f"{path}\n")
        _pipe(self._process.stdin).flush()

    def answer(self) -> Verdict:
        """What became of the object that was asked about."""
        return Verdict(*json.loads(_pipe(self._process.stdout).readline()))

    def end(self) -> None:
        """Wait for the process to end."""
        _pipe(self._process.stdin).close()
        self._process.wait()


_SERVE = (
    "import sys; tests, folder = sys.argv[1:]; sys.path[:] = [folder, tests, *sys.path]; "
    "import compare_versions; compare_versions.serve()"
)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def unpack(revision: str, folder: Path) -> Path:
    """The files of ``revision`` below ``folder``."""
    folder.mkdir()
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", revision, *_packages(revision)],
        stdout=subprocess.PIPE,
        check=True,
    )
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def _packages(revision: str) -> list[str]:
    """Which of `PACKAGES` the revision has."""
    command = ["git", "-C", ROOT, "ls-tree", "--name-only", revision, *PACKAGES]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def copy(folder: Path) -> Path:
    """The working tree's files below ``folder``: it may change while objects are compared."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    return folder


def objects(folders: Sequence[Path]) -> Iterator[Path]:
    """The ELF files below ``folders``, in order."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    if file.read(4) == b"\x7fELF":
                        yield path


def difference(old: Verdict, new: Verdict) -> tuple[str, str] | None:
    """The kind of a difference and its words, without numbers; None where there is none."""
    if "failed" in (old.kind, new.kind):
        return None if old[:2] == new[:2] else ("failed", f"{old.text} / {new.text}")
    if new.kind == "refused":
        if old.kind == "refused":
            return None if old.text == new.text else ("words", f"{words(old)} -> {words(new)}")
        return "refused", f"was {old.kind}: {words(new)}"
    if old.kind == "refused":
        return "rewritten", f"{new.kind}: {words(old)}"
    return None if old.text == new.text else ("bytes", f"{old.kind} -> {new.kind}")


def words(verdict: Verdict) -> str:
    """A refusal's words without what is different in each object."""
    text = re.sub(r"^.*?: ", "", verdict.text, count=1)
    return re.sub(r"0x[0-9a-f]+|\d+", "N", text)


def compare(old: Version, new: Version, paths: Sequence[Path], log: IO[str] | None) -> bool:
    """Ask both about every object and print what differs; returns whether anything does."""
    differences: dict[tuple[str, str], list[str]] = {}
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    slots = [0, 0]
    times = []
    for number, path in enumerate(paths):
        verdicts = []
        for version in (old, new):  # in turns, so that both find the machine alike
            version.ask(path)
            verdicts.append(version.answer())
        for side, verdict in enumerate(verdicts):
            counts[side][verdict.kind] += 1
            slots[side] += verdict.slots
        found = difference(*verdicts)
        if found is not None:
            differences.setdefault(found, []).append(f"{path}: {verdicts[1].text}")
        times.append((verdicts[0].seconds, verdicts[1].seconds, str(path)))
        if log is not None:
            log.write(json.dumps([str(path), *verdicts]) + "\n")
        if sys.stderr.isatty():
            print(f"\r{number + 1}/{len(paths)}", end="", file=sys.stderr)
    for (kind, text), places in sorted(differences.items(), key=lambda item: -len(item[1])):
        print(f"{len(places)} {kind}: {text}")
        for place in places[:EXAMPLES]:
            print(f"    {place}")
    for name, count, own in zip(("old", "new"), counts, slots, strict=True):
        verdicts_text = ", ".join(f"{number} {kind}" for kind, number in sorted(count.items()))
        print(f"{name}: {verdicts_text}; {own} slots")
    _print_times(times)
    return bool(differences)


def _print_times(times: Sequence[tuple[float, float, str]]) -> None:
    before, after = (sum(t[side] for t in times) for side in (0, 1))
    print(f"processor time: old {before:.1f} s, new {after:.1f} s", end="")
    print(f" ({after / before:.2f} times)" if before else "")
    for one, two, path in sorted(times, key=lambda t: -max(t[:2]))[:SLOWEST]:
        print(f"    {one:.2f} s, {two:.2f} s: {path}")


def main() -> int:
    """Parse arguments, compare, return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--old", required=True, metavar="REV", help="revision to compare with")
    parser.add_argument("--new", metavar="REV", help="revision (default: the working tree)")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N objects, evenly spread")
    parser.add_argument("--log", metavar="FILE", help="write both verdicts of each object to FILE")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parsed = parser.parse_args()
    paths = list(objects([folder.resolve() for folder in parsed.folders]))
    if parsed.limit and len(paths) > parsed.limit:
        paths = [paths[i * len(paths) // parsed.limit] for i in range(parsed.limit)]
    if not paths:
        parser.error("no ELF file there")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        newer = unpack(parsed.new, folder / "new") if parsed.new else copy(folder / "new")
        versions = Version(unpack(parsed.old, folder / "old")), Version(newer)
        if parsed.log:
            with open(parsed.log, "w", encoding="utf-8") as log:
                differs = compare(*versions, paths, log)
        else:
            differs = compare(*versions, paths, None)
        for version in versions:
            version.end()
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
