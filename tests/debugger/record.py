"""Run inside gdb: stop at every line that has code, and write down what a user would see there.

The arguments are in the environment: NOPFIX_SOCKET is where qemu's stub listens, NOPFIX_RECORD
the file to write, NOPFIX_SOURCE the source file, NOPFIX_LINE one line to stop at ("" for all).
"""

import os
import re

import gdb  # type: ignore[import-not-found]

MOST_STOPS = 400


def normalised(text):
    """Addresses differ between the two programs; everything else has to be the same."""
    return re.sub(r"0x[0-9a-f]{4,}", "ADDRESS", text)


def main():
    for setting in (
        "pagination off",
        "confirm off",
        "width 0",
        "print entry-values both",
        "print frame-arguments all",
        "debuginfod enabled off",
    ):
        gdb.execute(f"set {setting}")
    gdb.execute(f"target remote {os.environ['NOPFIX_SOCKET']}", to_string=True)
    source = os.environ["NOPFIX_SOURCE"]
    gdb.execute("tbreak main", to_string=True)
    gdb.execute("continue", to_string=True)
    wanted = os.environ["NOPFIX_LINE"]
    table = gdb.selected_frame().find_sal().symtab.linetable()
    lines = [int(wanted)] if wanted else sorted(line for line in table.source_lines() if line)
    with open(os.environ["NOPFIX_RECORD"], "w") as record:
        for line in lines:
            made = gdb.Breakpoint(source=source, line=line)
            record.write(f"break {line}: {len(made.locations)} places\n")
        for _ in range(MOST_STOPS):
            try:
                gdb.execute("continue", to_string=True)
                seen = gdb.execute("backtrace -full", to_string=True)
            except gdb.error as end:
                record.write(f"end: {end}\n")
                break
            record.write(normalised(seen) + "\n")


main()
