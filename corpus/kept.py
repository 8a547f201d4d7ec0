"""Keep what the compilers made, so that the next run over the same matrix needs only the rewriter.

A regression run after a change to the rewriter compiles the same sources with the same compilers
as the run before.  With ``--keep-objects DIR`` a prepared case (``plain.o``, ``want.o``, the split
DWARF beside them, and what was measured) is one compressed file in DIR, named by a digest of all
that it was made from; a later run takes it from there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from nopfix.corpus.prepare import Prepared, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

_FILES = ("plain.o", "want.o", "plain.dwo", "want.dwo")


@functools.cache
def _editor_version() -> bytes:
    """Return a digest of the modules that decide what a prepared case looks like."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for name in ("assembly.py", "entries.py", "prepare.py", "toolchain.py"):
        digest.update((folder / name).read_bytes())
    return digest.digest()


def place(folder: str, inputs: Iterable[str]) -> Path:
    """Return where in `folder` the prepared case is kept that is made from `inputs`: digests and
    words that say together what the compiler and the assembler were given.
    """
    digest = hashlib.sha256(_editor_version())
    digest.update("\0".join(inputs).encode("utf-8", "surrogateescape"))
    name = digest.hexdigest()[:32]
    return Path(folder) / name[:2] / name[2:]


def load(path: Path, folder: Path) -> Prepared | None:
    """Unpack the prepared case kept at `path` into `folder`; None when there is none."""
    try:
        packed = zlib.decompress(path.read_bytes())
    except (FileNotFoundError, zlib.error):
        return None
    head, _, content = packed.partition(b"\n")
    fields, expanded, sizes = json.loads(head)
    start = 0
    for name, size in sizes.items():
        (folder / name).write_bytes(content[start : start + size])
        start += size
    return Prepared(Verdict(**fields), folder / "plain.o", folder / "want.o", tuple(expanded))


def save(path: Path, prepared: Prepared) -> None:
    """Keep a prepared case at `path`, whole or not at all."""
    folder = prepared.plain.parent
    contents = {name: (folder / name).read_bytes() for name in _FILES if (folder / name).exists()}
    sizes = {name: len(content) for name, content in contents.items()}
    head = json.dumps([prepared.verdict._asdict(), prepared.expanded, sizes]).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(zlib.compress(head + b"\n" + b"".join(contents.values()), 1))
    unfinished.rename(path)
