"""A process that has this checkout's nopfix and nothing else, as the wrapper's scripts start it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    """What ``code`` prints there, without white space around it."""
    return subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
