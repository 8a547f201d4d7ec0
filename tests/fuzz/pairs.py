"""Damaged pairs of objects for nopfix-verify: `python -m tests.fuzz.pairs --seconds N`.

Of each pair (the seeds and what nopfix makes of them, the pairs of tests/verifier) OUT, IN or both
are damaged. The rule: `verify` and `loader.check` end with an answer or with Unreadable, in a line,
within `SECONDS` of processor time and `MEMORY` bytes. What doesn't is kept, one pair for each kind
and place, and the exit status is 1. Damage to OUT alone that is still verified is kept as well, for
somebody to look at; it is no finding, as padding and lengths that nothing reads may change.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

import nopfix
from nopfix.verifier import Unreadable, loader, verify
from tests.fuzz.judge import SEEDS
from tests.fuzz.mutate import mutate

DATA = Path(__file__).parent.parent / "verifier" / "data"
SAMPLES = Path(__file__).parent.parent.parent / "samples"
SECONDS = 20
MEMORY = 3 << 30
#: Which of IN and OUT are damaged.
_WHICH = ((1,), (1,), (0,), (0, 1))


class Pair(NamedTuple):
    """IN and OUT, before any damage."""

    name: str
    old: bytes
    new: bytes


class Finding(NamedTuple):
    """What was wrong, a name for its kind and place, and what there is to say of it."""

    name: str
    detail: str


def pairs() -> list[Pair]:
    """The pairs that everything starts from."""
    found = [
        Pair(path.name, path.read_bytes(), Path(str(path).replace(".in.", ".out.")).read_bytes())
        for path in sorted(DATA.glob("*.in.o"))
    ]
    for path in (*sorted(SEEDS.glob("*.o")), *sorted(SAMPLES.glob("*.o"))):
        old = path.read_bytes()
        try:
            found.append(Pair(path.name, old, bytes(nopfix.rewrite(old).data)))
        except nopfix.Refusal:
            continue
    return found


def damaged(pair: Pair, random: Random) -> tuple[Pair, bool]:
    """The pair with damage, and whether it is OUT's alone."""
    which = random.choice(_WHICH)
    seed = random.random()
    both = [pair.old, pair.new]
    for side in which:
        # The same damage to both reaches deeper than one alone, which mostly ends as a difference.
        both[side] = mutate(both[side], Random(seed))
    return Pair(pair.name, *both), which == (1,)


def run(pair: Pair) -> tuple[str, Finding | None]:
    """Verify a pair: a word for how that ended, and what was wrong with it."""
    begun = time.process_time()
    finding = None
    try:
        report = verify(pair.old, pair.new)
        said = [str(found) for found in report.differences]
        said += [str(found) for found in loader.check(pair.new).refusals]
        word = "verified" if report.verified else "differ"
    except Unreadable as error:
        said, word = [str(error)], "unreadable"
    except Exception as error:
        said, word = [], "exception"
        innermost = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(innermost.filename).stem}-{innermost.name}"
        finding = Finding(f"{type(error).__name__}-{place}", traceback.format_exc())
    spent = time.process_time() - begun
    if spent > SECONDS:
        finding = Finding("time", f"{spent:.0f} s")
    if any("\n" in line for line in said):
        finding = Finding("lines", "\n".join(said))
    return word, finding


def _keep(folder: Path, name: str, pair: Pair, detail: str) -> bool:
    """Keep a pair; False when one of that name is there already."""
    if (folder / f"{name}.txt").exists():
        return False
    (folder / f"{name}.txt").write_text(f"{pair.name}\n{detail}\n", errors="backslashreplace")
    (folder / f"{name}.in.o").write_bytes(pair.old)
    (folder / f"{name}.out.o").write_bytes(pair.new)
    return True


def main() -> int:
    """Run the command; returns 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.pairs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random numbers")
    parser.add_argument("--findings", type=Path, default=Path(".cache/fuzz-pairs"))
    options = parser.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    random, counts, started = Random(options.seed), Counter[str](), pairs()
    end = time.monotonic() + options.seconds
    shown = 0.0
    while time.monotonic() < end:
        pair, of_out = damaged(random.choice(started), random)
        word, finding = run(pair)
        counts["pairs"] += 1
        counts[word] += 1
        if finding:
            counts["findings"] += _keep(options.findings, *finding[:1], pair, finding.detail)
        if word == "verified" and of_out and pair not in started:
            counts["OUT alone damaged, verified"] += 1
            name = f"verified-{counts['OUT alone damaged, verified']}"
            _keep(options.findings, name, pair, "")
        if time.monotonic() - shown > 60:
            shown = time.monotonic()
            print(dict(counts), flush=True)
    print(f"seed {options.seed}: {dict(counts)}")
    return 1 if counts["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
