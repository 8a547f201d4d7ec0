"""The archive for a report of a fault has what the report needs."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from nopfix.rewriter import command, pipeline
from nopfix.rewriter.options import Options
from nopfix.rewriter.show import bundle

if TYPE_CHECKING:
    import pytest


def contents(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:xz") as opened:
        found = {}
        for member in opened:
            file = opened.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
        return found


def test_it_has_the_object_what_was_done_and_the_versions(samples: Path, tmp_path: Path) -> None:
    source = shutil.copy(samples / "dispatch.o", tmp_path / "in.o")
    made = tmp_path / "fault.tar.xz"
    assert command.main(["--bundle", str(made), "--only", "clamp", str(source)]) == 0
    found = contents(made.read_bytes())
    assert found["in.o.nopfix/in.o"] == Path(source).read_bytes()
    about = found["in.o.nopfix/about.txt"].decode()
    assert "version: nopfix " in about
    assert "only: ['clamp']" in about
    assert str(tmp_path) not in about
    assert b'"callee": "clamp"' in found["in.o.nopfix/report.json"]
    assert b"\tclamp\tinsert\n" in found["in.o.nopfix/list.txt"]
    assert b"switch: a table of distances" in found["in.o.nopfix/explain.txt"]


def test_a_refusal_is_in_it_as_its_line() -> None:
    found = contents(bundle.make("x.o", b"no object", Options(), {}))
    assert found["x.o.nopfix/report.json"].startswith(b"refused: not an ELF file")


def test_a_mistake_of_nopfixs_own_is_in_it_with_its_traceback(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "rewrite", broken)
    data = (samples / "dispatch.o").read_bytes()
    found = contents(bundle.make("x.o", data, Options(), {}))
    assert b"in broken\n" in found["x.o.nopfix/report.json"]
    assert found["x.o.nopfix/list.txt"].count(b"\n") > 5


def test_the_same_object_gives_the_same_bytes(samples: Path) -> None:
    data = (samples / "dispatch.o").read_bytes()
    assert bundle.make("x.o", data, Options(), {}) == bundle.make("x.o", data, Options(), {})
