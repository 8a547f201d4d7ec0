"""What docs/kpatch-upstream.md proposes, tried on a copy of kpatch's script.

The copy asks for the plugin only where the compiler leaves no slots, and decides by the target's
architecture rather than by the machine's, so that no ``uname`` has to lie.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.kpatch import edits
from tests.kpatch.edits import Edit

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "kpatch-build"

_HAS_SLOTS = r"""
# Whether the compiler leaves room behind a call of a function in the same file, as a call that will
# leave the patch module needs on ppc64le.
calls_have_slots() {
	local c="$TEMPDIR/slots.c" o="$TEMPDIR/slots.o"
	echo '__attribute__((noipa)) static int f(int i) { return i; }' > "$c"
	echo 'int g(int i) { return f(i) + 1; }' >> "$c"
	"$1" -O2 -mcmodel=large -ffunction-sections -c -o "$o" "$c" || return 1
	"${CROSS_COMPILE:-}objdump" -d "$o" | grep -A1 $'\tbl  ' | grep -q $'\tnop$'
}

"""

EDITS = (
    # The plugin only where it has something to do.
    Edit(SCRIPT, r"^(find_dirs\(\) \{)", _HAS_SLOTS.replace("\\", "\\\\") + "\\1", instead=True),
    Edit(
        SCRIPT,
        r'ARCH_KCFLAGS="-mcmodel=large -fplugin=(\S+)"',
        'ARCH_KCFLAGS="-mcmodel=large"\n\tcalls_have_slots "$GCC" || ARCH_KCFLAGS+=" -fplugin=\\1"',
        instead=True,
    ),
    # The target's architecture decides, not the machine's: the flags, the symbol tables.
    *[Edit(SCRIPT, r'\[\[ "\$ARCH" = "ppc64le"', '[[ "$TARGET_ARCH" = "ppc64le"', instead=True)]
    * 2,
    # The kernel's name for it, and the linker that every cross tool chain has.
    Edit(
        SCRIPT,
        r'^(\tif \[\[ "\$1" == "aarch64" \]\]; then\n[^\n]*\n)',
        '\\1\telif [[ "$1" == "ppc64le" ]]; then\n\t\techo "powerpc"\n',
        instead=True,
    ),
    Edit(SCRIPT, r'^\t"\$LLD" -r', '\t"$LD" -r', instead=True),
)


def copy(release: Path) -> Path:
    """Copy kpatch's folder ``release`` and change the script; returns the new script's path.

    The plugin isn't copied.  Raises `EditError` when the script has none of the lines.
    """
    base = release.with_name(f"{release.name}-upstream")
    shutil.rmtree(base, ignore_errors=True)
    shutil.copytree(release, base, ignore=shutil.ignore_patterns("*.so"))
    folder = base / "kpatch-build"
    for _old, new in edits.apply(EDITS, folder).values():
        (folder / SCRIPT).write_text(new)
    return folder / SCRIPT
