"""``--bundle FILE``: what a report of a fault needs, in one archive.

The object and its .dwo files, what nopfix did or why it didn't, its calls and branches, and the
versions.  A mistake of nopfix's own comes with its traceback.  Paths and names of this machine are
left out, but for those that the object itself holds.
"""

from __future__ import annotations

import io
import os
import tarfile
import traceback

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter import pipeline
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.show import listing, written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nopfix.rewriter.options import Options


def make(path: str, data: bytes, options: Options, heading: Mapping[str, str]) -> bytes:
    """An archive (tar, xz) about the object ``data`` at ``path``.

    ``heading`` is what is said of the run, as names and values: versions, the command's options.
    """
    name = os.path.basename(path)
    files = {
        "about.txt": "".join(f"{key}: {value}\n" for key, value in heading.items()).encode(),
        name: data,
        **{os.path.basename(dwo): contents for dwo, contents in options.dwo.items()},
        "report.json": _attempt(lambda: _report(name, data, options)),
        "list.txt": _attempt(lambda: _listing(data, options, calls=True)),
        "explain.txt": _attempt(lambda: _listing(data, options, calls=False)),
    }
    folder = f"{name}.nopfix"
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:xz", format=tarfile.PAX_FORMAT) as archive:
        for each, contents in files.items():
            entry = tarfile.TarInfo(f"{folder}/{each}")
            entry.size, entry.mode = len(contents), 0o644
            archive.addfile(entry, io.BytesIO(contents))
    return file.getvalue()


def _attempt(make: Callable[[], str]) -> bytes:
    """What ``make`` gives, or why it gives nothing."""
    try:
        return make().encode("utf-8", "backslashreplace")
    except Refusal as refusal:
        return f"refused: {refusal}\n".encode()
    except Exception:
        return traceback.format_exc().encode("utf-8", "backslashreplace")


def _report(name: str, data: bytes, options: Options) -> str:
    report = pipeline.rewrite(data, options).report
    return written.text((name, None), written.report(report))


def _listing(data: bytes, options: Options, *, calls: bool) -> str:
    found = listing.make(data, options, calls=calls, branches=not calls)
    lines: Sequence[str] = list(listing.lines(found))
    return "".join(line + "\n" for line in lines)
