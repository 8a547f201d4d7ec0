"""Cases that once failed, shrunk by `nopfix-corpus reduce`; each must pass now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import case, reduce, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = sorted(reduce.KEPT.glob("*.[cC]*"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_failed_once_passes(file: Path, need_compiler: Callable[[str], None]) -> None:
    need_compiler(reduce.origin(file).compiler)
    result = case.run(reduce.reduced_case(file))
    assert result.verdict in verdicts.GOOD, result.detail
    assert result.nops > 0
