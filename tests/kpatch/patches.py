"""The patches: what each changes, and where its effect shows.

Every one adds something of our own that a program can see, in a function that calls others of its
file: those calls have no slot when the compiler makes them.  ``0x6e6f`` ("no") is the number that
asks a patched system call for its answer.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.kpatch.edits import Edit, after_declarations, at_end, at_start, before


class Patch(NamedTuple):
    """A patch by name: what it shows, its edits, the objects it changes, what becomes of it.

    `result` is "loads", or the words with which kpatch-build ends where it must not make a module.
    `objects` may name one that only some kernels have.  `jump_label`: a function that it changes
    has a jump label, which every write to user space brings along.  Debian's script (0.9.11-1.1)
    takes such a kernel for one before 5.8, in which a patch can't have them; kpatch's own doesn't.
    `changes` are regular expressions, each of which one of the changed functions has to match.
    """

    name: str
    shows: str
    objects: tuple[str, ...]
    edits: tuple[Edit, ...]
    result: str = "loads"
    jump_label: bool = False
    changes: tuple[str, ...] = ()


LOADS = "loads"
KPATCH = '#include "kpatch-macros.h"\n'
NO_SIBLING_CALLS = '__attribute__((optimize("-fno-optimize-sibling-calls")))\n'

_PROC = "fs/proc/"

STATIC_CALL = Patch(
    "static-call",
    "many calls of a function that the compiler may have inlined",
    ("fs/proc/meminfo.o",),
    (
        after_declarations(
            "fs/proc/meminfo.c",
            "meminfo_proc_show",
            '\tshow_val_kb(m, "Nopfix:         ", 42);\n',
        ),
    ),
)

SIBLING_CALL = Patch(
    "sibling-call",
    "the same without the attribute",
    ("fs/proc/base.o",),
    (
        at_start(
            "fs/proc/base.c",
            "proc_tgid_base_readdir",
            "\tif (file->f_flags & O_SYNC)\n\t\treturn -ENOTTY;\n",
        ),
    ),
    "unsupported sibling call",
)

PATCHES = (
    STATIC_CALL,
    Patch(
        "several-files",
        "four files in one patch",
        ("fs/proc/uptime.o", "fs/proc/version.o", "fs/proc/cmdline.o", "fs/namespace.o"),
        (
            after_declarations(
                "fs/proc/uptime.c", "uptime_proc_show", '\tseq_puts(m, "nopfix ");\n'
            ),
            at_start("fs/proc/version.c", "version_proc_show", '\tseq_puts(m, "nopfix ");\n'),
            at_start("fs/proc/cmdline.c", "cmdline_proc_show", '\tseq_puts(m, "nopfix ");\n'),
            after_declarations(
                "fs/namespace.c", "ksys_umount", "\tif (flags == 0x6e6f00)\n\t\treturn -ENOTTY;\n"
            ),
        ),
    ),
    Patch(
        "new-function",
        "a new function, new globals and a new static variable",
        ("fs/proc/array.o",),
        (
            before(
                "fs/proc/array.c",
                "proc_pid_status",
                "unsigned int nopfix_limit = 7;\n"
                "static unsigned long nopfix_shown;\n"
                'static const char *const nopfix_words[] = { "even", "odd" };\n'
                "static noinline void nopfix_line(struct seq_file *m)\n{\n"
                "\tnopfix_shown++;\n"
                '\tseq_printf(m, "Nopfix:\\t%s %u\\n", nopfix_words[nopfix_shown & 1],\n'
                "\t\t   nopfix_limit);\n"
                "\tbarrier();\n}\n\n",
            ),
            after_declarations("fs/proc/array.c", "proc_pid_status", "\tnopfix_line(m);\n"),
        ),
    ),
    Patch(
        "static-local",
        "a static local variable that keeps its value, a new one, a switch",
        ("kernel/printk/printk.o",),
        (
            after_declarations(
                "kernel/printk/printk.c",
                "do_syslog",
                "\tif (type == 0x6e6f) {\n"
                "\t\tstatic int nopfix_calls;\n\n"
                "\t\treturn 1000 * ++nopfix_calls + saved_console_loglevel;\n"
                "\t}\n",
            ),
        ),
    ),
    Patch(
        "switch",
        "a switch gets two cases, and its table with it",
        ("kernel/sys.o",),
        (
            Edit(
                "kernel/sys.c",
                r"^(\tcase PR_SET_PDEATHSIG:)",
                "\tcase 17:\n\t\terror = 4217;\n\t\tbreak;\n"
                "\tcase 18:\n\t\terror = 4218;\n\t\tbreak;\n\\1",
                instead=True,
            ),
        ),
        jump_label=True,
    ),
    Patch(
        "jump-label",
        "functions with jump labels",
        ("arch/powerpc/kernel/setup-common.o", "arch/powerpc/kernel/process.o"),
        (
            after_declarations(
                "arch/powerpc/kernel/setup-common.c",
                "show_cpuinfo",
                '\tseq_puts(m, "nopfix\\t\\t: here\\n");\n',
            ),
            after_declarations(
                "arch/powerpc/kernel/process.c",
                "get_endian",
                "\tif (adr == 0x6e6f)\n\t\treturn 4219;\n",
            ),
        ),
        jump_label=True,
    ),
    Patch(
        "warn",
        "a new WARN among others",
        ("fs/eventpoll.o",),
        (
            after_declarations(
                "fs/eventpoll.c",
                "do_epoll_create",
                '\tif (WARN(flags == 0x6e6f, "nopfix: this warning is meant\\n"))\n'
                "\t\treturn -ENOTTY;\n",
            ),
        ),
    ),
    Patch(
        "tracepoint",
        "a function with a tracepoint",
        ("fs/exec.o",),
        (
            at_start(
                "fs/exec.c",
                "__set_task_comm",
                "\tif (buf[0] == '!')\n\t\tbuf = \"nopfix\";\n",
            ),
        ),
        jump_label=True,
    ),
    Patch(
        "callbacks",
        "all four callbacks",
        ("kernel/fork.o",),
        (
            before("kernel/fork.c", "ksys_unshare", "static int nopfix_state;\n\n"),
            after_declarations(
                "kernel/fork.c",
                "ksys_unshare",
                "\tif (unshare_flags == 0x6e6f)\n\t\treturn nopfix_state;\n",
            ),
            at_end(
                "kernel/fork.c",
                KPATCH + "static int nopfix_pre_patch(patch_object *obj)\n{\n"
                "\tnopfix_state = 4000;\n\treturn 0;\n}\n"
                "static void nopfix_post_patch(patch_object *obj)\n{\n\tnopfix_state += 220;\n}\n"
                "static void nopfix_pre_unpatch(patch_object *obj)\n{\n\tnopfix_state++;\n}\n"
                "static void nopfix_post_unpatch(patch_object *obj)\n{\n"
                '\tKPATCH_PRINTK("nopfix: unpatched in state %d\\n", nopfix_state);\n'
                "\tbarrier();\n}\n"
                "KPATCH_PRE_PATCH_CALLBACK(nopfix_pre_patch);\n"
                "KPATCH_POST_PATCH_CALLBACK(nopfix_post_patch);\n"
                "KPATCH_PRE_UNPATCH_CALLBACK(nopfix_pre_unpatch);\n"
                "KPATCH_POST_UNPATCH_CALLBACK(nopfix_post_unpatch);\n",
            ),
        ),
    ),
    Patch(
        "shadow",
        "shadow variables, freed by a callback",
        ("fs/proc/base.o",),
        (
            before("fs/proc/base.c", "comm_write", "#include <linux/livepatch.h>\n" + KPATCH),
            after_declarations(
                "fs/proc/base.c",
                "comm_write",
                "\tint *nopfix = klp_shadow_get_or_alloc(current, 0x6e6f, sizeof(int), \n"
                "\t\t\t\t\t\t GFP_KERNEL, NULL, NULL);\n\n"
                "\tif (nopfix)\n\t\t++*nopfix;\n",
            ),
            after_declarations(
                "fs/proc/base.c",
                "comm_show",
                "\tint *nopfix = klp_shadow_get(current, 0x6e6f);\n\n"
                '\tif (nopfix)\n\t\tseq_printf(m, "%d writes: ", *nopfix);\n',
            ),
            at_end(
                "fs/proc/base.c",
                "static void nopfix_post_unpatch(patch_object *obj)\n{\n"
                "\tklp_shadow_free_all(0x6e6f, NULL);\n\tbarrier();\n}\n"
                "KPATCH_POST_UNPATCH_CALLBACK(nopfix_post_unpatch);\n",
            ),
        ),
    ),
    Patch(
        "syscall",
        "a system call, by kpatch's own macro",
        ("kernel/sys.o",),
        (
            Edit(
                "kernel/sys.c",
                r"^SYSCALL_DEFINE2\(getpriority(.*\n\{\n(?:[^\n]+\n)*\n)",
                KPATCH + r"KPATCH_SYSCALL_DEFINE2(getpriority\1"
                "\tif (who == 0x6e6f)\n\t\treturn 4221;\n",
                instead=True,
            ),
        ),
    ),
    Patch(
        "clones",
        "functions of which the compiler made clones (constprop, isra)",
        ("mm/mprotect.o", "fs/proc/proc_sysctl.o"),
        (
            after_declarations(
                "mm/mprotect.c",
                "do_mprotect_pkey",
                "\tif (prot == 0x6e6f)\n\t\treturn -ENOTTY;\n",
            ),
            after_declarations(
                "fs/proc/proc_sysctl.c",
                "proc_sys_fill_cache",
                '\tif (!strcmp(table->procname, "ostype"))\n\t\treturn true;\n',
            ),
        ),
        changes=(r"\.constprop\.", r"\.isra\."),
    ),
    Patch(
        "module",
        "a module's function",
        ("fs/overlayfs/overlay.ko",),
        (
            after_declarations(
                "fs/overlayfs/params.c fs/overlayfs/super.c",
                "ovl_show_options",
                '\tseq_puts(m, ",nopfix");\n',
            ),
        ),
    ),
    Patch(
        "coming-module",
        "a function of a module that is loaded after the patch",
        ("fs/binfmt_misc.ko",),
        (Edit("fs/binfmt_misc.c", r'"enabled\\n" :', '"nopfix\\\\n" :', instead=True),),
    ),
    Patch(
        "user-access",
        "a function with an exception table and asm goto",
        ("fs/readdir.o",),
        (
            after_declarations(
                "fs/readdir.c",
                "filldir64",
                '\tif (namlen == 13 && !memcmp(name, "nopfix-hidden", 13))\n\t\treturn true;\n',
            ),
        ),
        jump_label=True,
    ),
    Patch(
        "cgroup",
        "a control file of the largest object",
        ("kernel/cgroup/cgroup.o",),
        (
            after_declarations(
                "kernel/cgroup/cgroup.c", "cgroup_stat_show", '\tseq_puts(seq, "nopfix 1\\n");\n'
            ),
        ),
    ),
    Patch(
        "scheduler",
        "the scheduler",
        ("kernel/sched/core.o", "kernel/sched/build_policy.o", "kernel/sched/syscalls.o"),
        (
            after_declarations(
                "kernel/sched/syscalls.c kernel/sched/core.c",
                "sched_rr_get_interval",
                "\tif (pid == 0x6e6f)\n\t\treturn -ENOTTY;\n",
            ),
        ),
    ),
    Patch(
        "no-sibling-call",
        "a call of a static function, a sibling call but for kpatch's attribute",
        ("fs/proc/base.o",),
        (
            Edit(
                "fs/proc/base.c",
                r"^static int (proc_tgid_base_readdir\([^;{]*\)\n\{\n)",
                NO_SIBLING_CALLS + "static int \\1\tif (file->f_flags & O_SYNC)\n"
                "\t\treturn -ENOTTY;\n",
                instead=True,
            ),
        ),
    ),
    SIBLING_CALL,
    Patch(
        "no-change",
        "comments move the lines of WARN and its kin",
        ("kernel/fork.o", "kernel/sched/core.o"),
        (
            Edit("kernel/fork.c", r"^#include[^\n]*\n", "/*\n * Nothing.\n */\n"),
            Edit("kernel/sched/core.c", r"^#include[^\n]*\n", "/*\n * Nothing.\n */\n"),
        ),
        "no functional changes found",
    ),
    STATIC_CALL._replace(
        name="replacement",
        shows="replaces the first patch while that one is loaded",
        edits=(
            after_declarations(
                "fs/proc/meminfo.c",
                "meminfo_proc_show",
                '\tshow_val_kb(m, "Replaced:       ", 43);\n',
            ),
        ),
    ),
)

LOOP = Patch(
    "loop",
    "a module's ioctl, whose calls are sibling calls but for kpatch's attribute",
    ("drivers/block/loop.ko",),
    (
        Edit(
            "drivers/block/loop.c",
            r"^static long (loop_control_ioctl\([^;{]*\)\n\{\n)",
            NO_SIBLING_CALLS + "static long \\1\tif (cmd == 0x6e6f)\n\t\treturn 4223;\n",
            instead=True,
        ),
    ),
)

# Those that are tried with Debian's own configuration; the last one only there.
DEBIAN = (*(p for p in PATCHES if p.name in ("module", "coming-module")), LOOP)

# What the kernel has to refuse when the compiler alone made it, whichever compiler.
REFUSED = ("new-function", "static-local", "no-sibling-call")
