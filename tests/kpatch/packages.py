"""Packages of another architecture than this machine's, by apt with settings of its own."""

from __future__ import annotations

import fnmatch
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.kernel.kernel_test import Failure, run
from tests.kpatch.root import mirror

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURE = "ppc64el"


def fetch(folder: Path, suite: str, pattern: str, log: Path, target: Path | None = None) -> Path:
    """Unpack the newest package whose name matches ``pattern``, without those that it asks for.

    Returns ``target``, or the folder below ``folder`` that it was unpacked into.  A mirror that is
    a snapshot may lack the newest: then the one before.  Raises Failure when none can be had.
    """
    state = folder / suite
    for part in ("state/lists/partial", "cache/archives/partial", "deb"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "sources.list").write_text(f"deb {mirror()} {suite} main\n")
    settings = (
        f"APT::Architecture={ARCHITECTURE}",
        f"APT::Architectures::={ARCHITECTURE}",
        "APT::Sandbox::User=root",
        "Acquire::Check-Valid-Until=false",
        f"Dir::Etc::SourceList={state}/sources.list",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State={state}/state",
        "Dir::State::status=/dev/null",
        f"Dir::Cache={state}/cache",
    )
    options = [word for setting in settings for word in ("-o", setting)]
    run("apt-get", "-q", *options, "update", log=log)
    known = subprocess.run(
        ["apt-cache", *options, "pkgnames"], capture_output=True, text=True
    ).stdout.split()
    for name in sorted(fnmatch.filter(known, pattern), key=version, reverse=True):
        shutil.rmtree(state / "deb")
        (state / "deb").mkdir()
        try:
            run("apt-get", "-q", *options, "download", name, log=log, cwd=state / "deb")
        except Failure:
            continue
        place = target or folder / name
        run("dpkg-deb", "-x", next((state / "deb").glob("*.deb")), place, log=log)
        return place
    raise Failure(f"no package {pattern} for {ARCHITECTURE} in {suite}")


def version(name: str) -> list[int]:
    """A package's name by the numbers in it."""
    digits = "".join(c if c.isdigit() else " " for c in name)
    return [int(number) for number in digits.split()]
