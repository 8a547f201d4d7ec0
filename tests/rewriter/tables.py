"""What is said of a switch's table in assembly."""

from __future__ import annotations

import pytest

from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.proof import data_in_code


def reason(data: bytes) -> str:
    """What is said of the end of the first branch's table, or of its target."""
    found = data_in_code.analyse(Program(elf.read(data)))
    return found.branches[0].explain().rpartition(": ")[2]


def refused(data: bytes) -> str:
    """The refusal's text; the test fails where there is none."""
    with pytest.raises(Refusal) as caught:
        reason(data)
    return str(caught.value)
