"""What the oracle's tests need: the cross tools and GCC's testsuite; without them they skip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import sources, toolchain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def testsuite() -> Path:
    """GCC's testsuite folder."""
    try:
        return sources.suite_folder()
    except sources.NoSources as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def need_compiler() -> Callable[[str], None]:
    """A function that skips the test when the compiler it is given isn't installed."""

    def need(name: str) -> None:
        try:
            toolchain.compiler(toolchain.Tools(name))
        except toolchain.ToolError as missing:
            pytest.skip(str(missing))

    return need
