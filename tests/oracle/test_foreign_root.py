"""A sample with the compilers of another release, where there is a root of one already.

$NOPFIX_ROOTS names the folder that ``nopfix-corpus roots make`` made it in; none is made here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nopfix.corpus import roots, sources

#: As many cases as take some ten seconds.
CASES = "40"


def a_root() -> Path:
    folder = os.environ.get("NOPFIX_ROOTS", "")
    for root in sorted(Path(folder).iterdir()) if folder and Path(folder).is_dir() else []:
        if (root / "usr/bin").is_dir() and roots.compilers(root):
            return root
    pytest.skip("no root in $NOPFIX_ROOTS (nopfix-corpus roots make)")


def test_a_sample_of_every_option_list_comes_out_right(tmp_path: Path) -> None:
    root = a_root()
    if os.geteuid():
        pytest.skip("needs to be root, for chroot")
    try:
        sources.suite_folder()
    except sources.NoSources as missing:
        pytest.skip(str(missing))
    words = ["run", "--root", str(root), "--cc", roots.compilers(root)[-1], "--matrix", "full"]
    words += ["--thin", "1", "--limit", CASES, "-j2", "--db", str(tmp_path / "r.db")]
    # A process of its own: what is mounted is mounted for that.
    done = subprocess.run([sys.executable, "-m", "nopfix.corpus.command", *words])
    assert done.returncode == 0
