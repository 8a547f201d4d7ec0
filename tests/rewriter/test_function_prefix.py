"""Type hashes in front of functions: data where that is certain, refused where it isn't.

The shapes are clang 19's for -O2 -fsanitize=function and -fsanitize=kcfi.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import nopfix

if TYPE_CHECKING:
    from collections.abc import Callable

# A call, a conditional branch, a prefix, and a word that is none of these.
CALL, BRANCH, PREFIX, OTHER = 0x48000011, 0x43477988, 0x04000000, 0x36B1C5A6


def source(prefix: str, slot: str = "") -> str:
    return f"""
    .text
    .p2align 4
    .type helper, @function
helper:
    blr
    .size helper, .-helper
    .p2align 4
    {prefix}
    .globl caller
    .type caller, @function
caller:
    bl helper
    {slot}
    bl helper
    {slot}
    blr
    .size caller, .-caller
    .p2align 4
    {prefix}
    .globl last
    .type last, @function
last:
    blr
    .size last, .-last
"""


@pytest.mark.parametrize("hash_", [CALL, BRANCH, PREFIX, OTHER])
def test_a_hash_behind_its_signature_is_data_and_aligned_with_its_function(
    hash_: int, assemble: Callable[..., bytes]
) -> None:
    prefix = f".long 0xc105cafe, {hash_:#x}"
    result = nopfix.rewrite(assemble(source(prefix)))
    assert result.data == assemble(source(prefix, "nop"))


def test_a_hash_that_looks_like_no_branch_stays_in_front_of_its_function(
    assemble: Callable[..., bytes],
) -> None:
    result = nopfix.rewrite(assemble(source(f".long {OTHER:#x}")))
    assert result.data.count(OTHER.to_bytes(4, "little")) == 2
    assert len(result.report.insertions) == 2


BACK, FORTH = 0x4BFFFFF1, 0x41820010  # to places of the section


@pytest.mark.parametrize("hash_", [CALL, BACK, FORTH])
def test_a_word_in_front_of_a_function_that_may_be_a_hash_or_a_branch_is_refused(
    hash_: int, assemble: Callable[..., bytes]
) -> None:
    with pytest.raises(nopfix.Refusal, match="in front of caller"):
        nopfix.rewrite(assemble(source(f".long {hash_:#x}")))


@pytest.mark.parametrize("hash_", [0x49803005, BRANCH, PREFIX, 0x4B000000, 0x07FFFFFF])
def test_a_word_in_front_of_a_function_that_can_be_no_instruction_is_data(
    hash_: int, assemble: Callable[..., bytes]
) -> None:
    """A branch out of the section without a relocation, a prefix without its suffix."""
    result = nopfix.rewrite(assemble(source(f".long {hash_:#x}")))
    assert result.data == assemble(source(f".long {hash_:#x}", "nop"))


IDENT = '.ident "clang version 19.1.7"\n'


@pytest.mark.parametrize("hash_", [CALL, BACK, FORTH, PREFIX, OTHER])
def test_in_front_of_every_function_that_others_may_call_llvm_writes_hashes(
    hash_: int, assemble: Callable[..., bytes]
) -> None:
    plain, want = (IDENT + source(f".long {hash_:#x}", slot) for slot in ("", "nop"))
    assert nopfix.rewrite(assemble(plain)).data == assemble(want)


def test_a_function_without_one_leaves_the_others_in_doubt(assemble: Callable[..., bytes]) -> None:
    without = ".p2align 4\n.globl other\n.type other,@function\nother: blr\n.size other,.-other\n"
    with pytest.raises(nopfix.Refusal, match="in front of caller"):
        nopfix.rewrite(assemble(IDENT + source(f".long {CALL:#x}") + without))


def test_the_branch_over_long_padding_is_none(assemble: Callable[..., bytes]) -> None:
    plain, want = (source("", slot).replace(".p2align 4", ".p2align 6") for slot in ("", "nop"))
    assert nopfix.rewrite(assemble(plain)).data == assemble(want)


def test_code_in_front_of_a_function_that_has_a_symbol_is_code(
    assemble: Callable[..., bytes],
) -> None:
    def with_stub(slot: str) -> bytes:
        text = source("", slot)
        return assemble(text.replace("    .globl last", "stub:\n    b caller\n    .globl last"))

    result = nopfix.rewrite(with_stub(""))
    assert result.data == with_stub("nop")
