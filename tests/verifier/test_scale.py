"""Time in proportion to the object: eight times as much takes nopfix-verify about eight times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nopfix import rewrite
from nopfix.verifier import verify
from tests.rewriter.test_scale import MOST, PAIRS, SMALL, TIMES, text

if TYPE_CHECKING:
    from collections.abc import Callable

    Assemble = Callable[..., bytes]

FUNCTION_AND_ADDRESS = """\
 .type f{n},@function
f{n}: mflr 0
 bl first
 mtlr 0
 blr
 .size f{n},.-f{n}
 .section .data.o{n},"aw"
 .type o{n},@object
o{n}: .quad f{n},0
 .size o{n},.-o{n}
 .text
"""


def pair(assemble: Assemble, count: int) -> tuple[bytes, bytes]:
    """An object and what nopfix makes of it."""
    data = assemble(text(FUNCTION_AND_ADDRESS, count))
    return data, rewrite(data).data


def seconds(pair: tuple[bytes, bytes]) -> float:
    """Processor time of a verification."""
    start = time.process_time()
    assert verify(*pair).verified
    return time.process_time() - start


def test_time_is_in_proportion_to_the_number_of_sections_with_addresses(assemble: Assemble) -> None:
    one, many = pair(assemble, 4 * SMALL), pair(assemble, 4 * TIMES * SMALL)
    seconds(one)  # what is made at the first use belongs to neither
    assert any(seconds(many) / seconds(one) < MOST for _ in range(PAIRS))
