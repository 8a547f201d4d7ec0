"""What counts as a difference between two versions of the rewriter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import compare_versions
from tests.compare_versions import Verdict, Version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REWRITTEN = Verdict("rewritten", "hash", 1, 0.0)
REFUSED = Verdict("refused", ".text+0x8 (in f): two branches at 0x10; do this", 0, 0.0)
FAILED = Verdict("failed", "KeyError: 4", 0, 0.0)

DIFFERENCES = {
    "other bytes": (REWRITTEN, REWRITTEN._replace(text="other"), "bytes"),
    "a new refusal": (REWRITTEN, REFUSED, "refused"),
    "a refusal that is gone": (REFUSED, REWRITTEN, "rewritten"),
    "other words": (REFUSED, REFUSED._replace(text="other"), "words"),
    "an error": (REWRITTEN, FAILED, "failed"),
}


@pytest.mark.parametrize(("old", "new", "kind"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_a_difference_is(old: Verdict, new: Verdict, kind: str) -> None:
    found = compare_versions.difference(old, new)
    assert found is not None
    assert found[0] == kind


@pytest.mark.parametrize("verdict", [REWRITTEN, REFUSED, FAILED])
def test_time_is_no_difference(verdict: Verdict) -> None:
    assert compare_versions.difference(verdict, verdict._replace(seconds=9.0)) is None


def test_words_are_those_of_the_kind_of_refusal() -> None:
    assert compare_versions.words(REFUSED) == "two branches at N; do this"


def test_both_versions_judge_the_same_objects(
    assemble: Callable[..., bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " .abiversion 2\n .type f,@function\nf: bl f\n blr\n .size f,.-f\n"
    (tmp_path / "in.o").write_bytes(assemble(text))
    (tmp_path / "in.c").write_text("no object")
    paths = list(compare_versions.objects([tmp_path]))
    assert [path.name for path in paths] == ["assembled.o", "in.o"]
    versions = Version(compare_versions.ROOT), Version(compare_versions.ROOT)
    assert not compare_versions.compare(*versions, paths, None)
    for version in versions:
        version.end()
    assert "new: 2 rewritten; 2 slots" in capsys.readouterr().out
