"""What Clang itself says it will make, where its arguments don't tell.

The problem: Clang takes arguments from configuration files, which it looks for in folders of its
own, and from the environment, in which -c, -o and the sources may stand; and it may be told to work
in another folder than the one that it is started in.

The rule: where one of these is in play, ask.  With ``-###`` the compiler prints the programs that
it would run, a line each, every argument in quotes, and runs none.  An object is what the frontend
makes of a source (``-cc1 -emit-obj``; with -flto intermediate code under an object's name), or what
an assembler makes of the frontend's text (``-save-temps``, ``-fno-integrated-as``).  One that
another program takes as its input is a temporary.

Source: clang's documentation (Configuration files; UsersManual, ``-###``); LLVM's Job.cpp
(Command::Print), Driver.cpp (ApplyOverrideOptions).
"""

from __future__ import annotations

import os
import subprocess

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.build.compiler_arguments import FRONTEND_ACTIONS, words

if TYPE_CHECKING:
    from collections.abc import Sequence


class Job(Record):
    """One program that the compiler would run, and its arguments."""

    program: str
    arguments: Sequence[str]

    def after(self, option: str) -> str | None:
        """The argument behind ``option``."""
        for argument, following in zip(self.arguments, self.arguments[1:], strict=False):
            if argument == option:
                return following
        return None


def ask(command: Sequence[str], assembly: bool) -> dict[str, bool] | None:
    """The objects that ``command`` would leave, as `compiler_arguments.plan` gives them.

    None where the compiler names no program that it would run, or none as Clang does.
    """
    done = subprocess.run([*command, "-###"], stdin=subprocess.DEVNULL, capture_output=True)
    text = os.fsdecode(done.stderr)
    jobs = [
        Job(program, arguments)
        for program, *arguments in (words(li) for li in text.splitlines() if li.startswith(' "'))
    ]
    if done.returncode or not jobs:
        return None
    return objects(jobs, assembly)


def objects(jobs: Sequence[Job], assembly: bool) -> dict[str, bool]:
    """The paths of the objects that are left when all ``jobs`` are done, each sure to come."""
    written = set()  # assembly that the frontend makes of C
    made = []
    for job in jobs:
        output = job.after("-o")
        if output is None:
            continue
        if _is_frontend(job) and "-S" in job.arguments:
            written.add(output)
        elif _is_frontend(job):
            if _makes_object(job.arguments):
                made.append(output)
        elif _is_assembler(job) and (assembly or written.intersection(job.arguments)):
            made.append(output)
    taken = {argument for job in jobs for argument in job.arguments if argument != job.after("-o")}
    folder = next(filter(None, (job.after("-working-directory") for job in jobs)), "")
    return {
        "/dev/stdout" if path == "-" else os.path.join(folder, path): True
        for path in made
        if path not in taken
    }


def _is_frontend(job: Job) -> bool:
    return job.arguments[:1] == ["-cc1"]


def _makes_object(arguments: Sequence[str]) -> bool:
    names = {argument.partition("=")[0] for argument in arguments}
    return not names.isdisjoint(("-emit-obj", "-flto")) and names.isdisjoint(FRONTEND_ACTIONS)


def _is_assembler(job: Job) -> bool:
    name = os.path.basename(job.program).rpartition("-")[2]
    return job.arguments[:1] == ["-cc1as"] or name == "as"
