"""The option lists over which the corpora are compiled.

Each is a tuple of flags as the compiler takes them.  `CODE` is what moves code in different ways:
optimisation levels, code models, kinds of switch tables, traceback tables, profiling and patching
prologues, newer processors.  `DEBUG` is what writes debug information in different ways.  The
others are what distributors and kernels compile with: patchable entries, alignment, hardening,
sanitizers, coverage; and `KERNEL`, the options of Linux 5.10 to 7.2 for ppc64le as their makefiles
(Makefile, arch/powerpc/Makefile) give them, where they bear on code or debug information.

No compiler knows all of them.  A list with an option that a compiler doesn't know is left out for
that compiler; an option that is written with ``?`` in front is left out of its list, as the
kernel's cc-option does (`resolved`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Flags = tuple[str, ...]

LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")

_CODE_OPTIONS = (
    "-mcmodel=large",
    "-ffunction-sections -fdata-sections",
    "-fPIC",
    "-mno-relative-jumptables",
    "-mtraceback=full",
    "-mcpu=power9",
    "-mcpu=power10 -mno-pcrel",
    "-fpatchable-function-entry=2",
    "-pg -mprofile-kernel",
)
_DEBUG_OPTIONS = (
    "-gdwarf-2",
    "-gdwarf-3",
    "-gdwarf-4",
    "-gdwarf-5",
    "-gdwarf-5 -gno-as-loc-support",
    "-gdwarf64",
    "-gz",
    "-g3",
    "-gsplit-dwarf",
    "-ffunction-sections",
)
_MORE_DEBUG_OPTIONS = (
    "-gdwarf-4 -gsplit-dwarf",
    "-gdwarf-5 -gsplit-dwarf",
    "-gdwarf-5 -gsplit-dwarf -gno-as-loc-support",
    "-gdwarf-6",
    "-gz=zlib",
    "-gz=zstd",
    "-ginternal-reset-location-views",
    "-gno-statement-frontiers",
    "-fdebug-types-section",
    "-fno-dwarf2-cfi-asm",
    "-Wa,--gdwarf-sections",
)
#: What both compilers have, or one of them some day.
_PROCESSORS = (
    "-mcpu=power10",
    "-mcpu=power11",
    "-mcpu=power10 -mrop-protect",
    "-mno-speculate-indirect-jumps",
)
_ENTRIES = (
    "-fpatchable-function-entry=1",
    "-fpatchable-function-entry=5,2",
    "-fpatchable-function-entry=16,14",
    "-pg",
    "-finstrument-functions",
    "-fxray-instrument -fxray-instruction-threshold=1",
)
_ALIGNMENT = (
    "-falign-functions=16",
    "-falign-functions=32",
    "-falign-functions=64",
    "-fmin-function-alignment=64",
    "-falign-functions=64 -fpatchable-function-entry=5,2",
)
_HARDENING = (
    "-fstack-protector-strong",
    "-fstack-clash-protection",
    "-fzero-call-used-regs=used",
    "-fzero-call-used-regs=all",
    "-ftrivial-auto-var-init=zero",
    "-ftrivial-auto-var-init=pattern",
    "-fhardened",
)
_INSTRUMENTATION = (
    "-fsanitize=address",
    "-fsanitize=undefined",
    "-fsanitize=thread",
    "-fsanitize=kcfi",
    "-fsanitize=function",
    "--coverage",
    "-fcondition-coverage",
    "-fprofile-instr-generate -fcoverage-mapping",
)
#: What is refused whole, by rule (corpus.baseline counts these refusals apart), or asks for calls
#: that take no slot.
_SPECIAL = (
    "-fsplit-stack",
    "-flto -ffat-lto-objects",
    "-fpseudo-probe-for-profiling",
    "-Wa,--crel",
)
_KERNEL_COMMON = (
    "-m64 -mlittle-endian ?-msoft-float ?-mtraceback=no -mabi=elfv2 -mcmodel=medium "
    "?-mno-pointers-to-nested-functions ?-mlong-double-128 -mcpu=power8 -mno-altivec -mno-vsx "
    "-fno-asynchronous-unwind-tables ?-mno-string ?-mno-strict-align "
    "-fno-delete-null-pointer-checks -fno-common -fno-PIE -fno-strict-aliasing -O2 "
    "-fno-strict-overflow ?-fno-stack-check ?-fconserve-stack"
)
_KERNEL_6_12 = (
    "?-mtune=power10 ?-mno-prefixed ?-mno-pcrel ?-mno-mma ?-fno-allow-store-data-races "
    "?-ftrivial-auto-var-init=zero ?-fno-stack-clash-protection ?-fmin-function-alignment=4 "
    "?-fstrict-flex-arrays=3"
)
_KERNELS = (
    # 5.10 and 6.1
    "-mtune=power9 -fno-stack-protector ?-Wa,-mpower4 -pg ?-mprofile-kernel",
    "?-mtune=power10 -fno-stack-protector ?-mno-prefixed ?-mno-pcrel -pg ?-mprofile-kernel",
    # 6.12, ftrace by patchable entries
    f"{_KERNEL_6_12} -fpatchable-function-entry=2",
    # 7.2, ftrace's stubs out of line
    f"{_KERNEL_6_12} -fpatchable-function-entry=1 ?-fzero-init-padding-bits=all",
    # a distributor's, and a module of it
    f"{_KERNEL_6_12} -fpatchable-function-entry=2 -fstack-protector-strong "
    "?-fzero-call-used-regs=used-gpr -mcmodel=large",
    # what kpatch-build adds
    f"{_KERNEL_6_12} -fpatchable-function-entry=2 -ffunction-sections -fdata-sections",
    # CONFIG_PPC_KERNEL_PCREL
    "?-mcpu=power10 ?-mprefixed ?-mpcrel -fpatchable-function-entry=2",
)
_TUNE = "-mtune=power10 -mno-vsx -mno-altivec -msoft-float"


def _list(options: tuple[str, ...], *before: str) -> tuple[Flags, ...]:
    return tuple((*before, *option.split()) for option in options)


#: Without debug information.
CODE: tuple[Flags, ...] = _list(LEVELS) + _list(_CODE_OPTIONS, "-O2")
#: The same with -g.
CODE_WITH_DEBUG: tuple[Flags, ...] = tuple((*flags, "-g") for flags in CODE)
#: Every way to write debug information, at -O2.
DEBUG: tuple[Flags, ...] = _list(_DEBUG_OPTIONS, "-O2", "-g")
#: Each at -O2 with -g, for every compiler that knows it.
PROCESSORS = _list(_PROCESSORS, "-O2", "-g")
ENTRIES = _list(_ENTRIES, "-O2", "-g")
ALIGNMENT = _list(_ALIGNMENT, "-O2", "-g")
HARDENING = _list(_HARDENING, "-O2", "-g")
INSTRUMENTATION = _list(_INSTRUMENTATION, "-O2", "-g")
SPECIAL = _list(_SPECIAL, "-O2", "-g")
MORE_DEBUG = _list(_MORE_DEBUG_OPTIONS, "-O2", "-g")
KERNEL = _list(_KERNELS, *_KERNEL_COMMON.split(), "-g")
#: With these GCC keeps values in LR and CTR, as in a kernel, which has no vector registers.
TUNE = tuple((level, *_TUNE.split(), "-g") for level in ("-O2", "-O3", "-Os"))

#: What clang is asked for: it has neither GCC's traceback nor its profiling options.
CLANG: tuple[Flags, ...] = (*_list(LEVELS), ("-O2", "-mcmodel=large"), ("-O2", "-fPIC"))
CLANG_DEBUG: tuple[Flags, ...] = (("-O2", "-g"), ("-O2", "-g", "-gdwarf-4"), ("-O0", "-g"))
CLANG_MORE_DEBUG: tuple[Flags, ...] = _list(
    (
        "-gdwarf-5 -gdwarf64",
        "-gdwarf-4 -gsplit-dwarf",
        "-gdwarf-5 -gsplit-dwarf",
        "-gz=zlib",
        "-gz=zstd",
        "-gdwarf-6",
        "-fdebug-types-section",
        "-ffunction-sections",
        "-fexperimental-relative-c++-abi-vtables",
    ),
    "-O2", "-g",
)  # fmt: skip

_OF_BOTH = {
    "processors": PROCESSORS,
    "entries": ENTRIES,
    "alignment": ALIGNMENT,
    "hardening": HARDENING,
    "instrumentation": INSTRUMENTATION,
    "kernel": KERNEL,
}
LISTS: dict[str, tuple[Flags, ...]] = {
    "levels": _list(LEVELS),
    "code": CODE,
    "code-debug": CODE_WITH_DEBUG,
    "debug": DEBUG,
    "more-debug": MORE_DEBUG,
    "tune": TUNE,
    "special": SPECIAL,
    "clang": CLANG,
    "clang-debug": CLANG_DEBUG,
    "clang-more-debug": CLANG_MORE_DEBUG,
    **_OF_BOTH,
}


def resolved(flags: Flags, knows: Callable[[str], bool]) -> Flags:
    """Return `flags` without the ``?`` in front of options that need not be known, and without
    those of them that aren't: `knows` says of an option whether the compiler takes it.
    """
    return tuple(
        flag.removeprefix("?") for flag in flags if flag[0] != "?" or knows(flag.removeprefix("?"))
    )


class LeftOut(NamedTuple):
    """An option list that a compiler (by its label) doesn't take, and what it said."""

    compiler: str
    flags: str
    message: str


class Part(NamedTuple):
    """Compilers and the names of the flag lists that they are given; all GCC or all clang."""

    compilers: tuple[str, ...]
    lists: tuple[str, ...]


_GCC = ("gcc-12", "gcc-11")
_LLVM = ("clang-19",)
_DEBUG_LISTS = ("code-debug", "debug", "more-debug", "tune", *_OF_BOTH, "special")
_CLANG_DEBUG_LISTS = ("clang-debug", "clang-more-debug", *_OF_BOTH, "special")

#: What ``nopfix-corpus run --matrix NAME`` stands for: all corpora, in these parts.
MATRICES: dict[str, tuple[Part, ...]] = {
    "full": (Part(_GCC, ("code", *_DEBUG_LISTS)), Part(_LLVM, ("clang", *_CLANG_DEBUG_LISTS))),
    # The lists with -g: a kernel's objects have debug information.
    "debug": (Part(_GCC, _DEBUG_LISTS), Part(_LLVM, _CLANG_DEBUG_LISTS)),
    "code": (Part(_GCC, ("code",)), Part(_LLVM, ("clang",))),
    # What only kernels are compiled with.
    "kernel": (Part(_GCC, ("kernel", "tune")), Part(_LLVM, ("kernel",))),
}
