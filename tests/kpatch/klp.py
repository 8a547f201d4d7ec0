"""klp-build of the kernel's own tree, tried on ppc64le with nopfix: what docs/klp-build.md tells.

klp-build (Linux 6.19 and later) compares vmlinux.o and the modules' objects, whole, as they are
before and after a patch, and takes the functions that differ out of them with objtool; up to 7.2 it
is for x86-64 only.  A copy of the kernel gets the few lines that `EDITS` has; then the
script itself runs there, with nopfix's compiler where its `make` calls one, and the module that it
makes is loaded into the kernel that plain GCC has built.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.kernel.kernel_test import say
from tests.kpatch import building, edits, kernels
from tests.kpatch.edits import Edit
from tests.kpatch.root import APT_INSTALL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kpatch.kernels import Kernel
    from tests.kpatch.patches import Patch
    from tests.kpatch.root import Root

WAY = "klp"
# What objtool needs beside what kpatch-build does.
INSTALL = (*APT_INSTALL, "libxxhash-dev", "pkgconf")

_OBJTOOL = "tools/objtool"
_BRANCHES = """
size_t arch_jump_opcode_bytes(struct objtool_file *file, struct instruction *insn,
\t\t\t      unsigned char *buf)
{
\tu32 word = bswap_if_needed(file->elf, *(u32 *)(insn->sec->data->d_buf + insn->offset));

\t/* opcode, AA and LK; the displacement goes where the code around it does */
\tword &= 0xfc000003;
\tmemcpy(buf, &word, sizeof(word));
\treturn sizeof(word);
}

u64 arch_adjusted_addend(struct reloc *reloc)
{
\treturn reloc_addend(reloc);
}
"""
_ALTERNATIVES = """
bool arch_alt_ignore_new_reloc(struct section *sec, unsigned long offset)
{
	return false;
}
"""
# In the large code model, a module's, the distance to the TOC stands in front of the entry.
_DISTANCE = """
static unsigned long toc_distance(struct symbol *sym)
{
\tstruct reloc *reloc;

\tif (!is_func_sym(sym) || !sym->sec->rsec)
\t\treturn 0;
\tfor_each_reloc(sym->sec->rsec, reloc) {
\t\tif (reloc_offset(reloc) + 8 == sym->offset && !strcmp(reloc->sym->name, ".TOC."))
\t\t\treturn 8;
\t}
\treturn 0;
}

"""

_DIFF = f"{_OBJTOOL}/klp-diff.c"

EDITS = (
    # That the architecture has it.
    Edit(
        "arch/powerpc/Kconfig",
        r"^\tselect HAVE_LIVEPATCH",
        "\tselect HAVE_KLP_BUILD if PPC64\n\\g<0>",
        instead=True,
    ),
    Edit(
        f"{_OBJTOOL}/Makefile",
        r"^ifeq \(\$\(SRCARCH\),loongarch\)",
        "ifeq ($(SRCARCH),powerpc)\n\tARCH_HAS_KLP := y\nendif\n\n\\g<0>",
        instead=True,
    ),
    # Another machine's objcopy.
    Edit(
        "scripts/livepatch/klp-build",
        r"^\tobjcopy --remove-section",
        '\t"${CROSS_COMPILE:-}objcopy" --remove-section',
        instead=True,
    ),
    # klp-build has objtool run over every object; here it may have nothing to do there.
    Edit(
        "scripts/Makefile.lib",
        r"^cmd_objtool = \$\(if \$\(objtool-enabled\),",
        "cmd_objtool = $(if $(and $(objtool-enabled),"
        "$(strip $(objtool-args-y) $(vmlinux-objtool-args-y))),",
        instead=True,
    ),
    # With a section for each function objdump's -d takes minutes, and relocations are all that is
    # asked for.
    *[
        Edit(
            "arch/powerpc/tools/ftrace-gen-ool-stubs.sh",
            r' -d (?="\$vmlinux_o")',
            " ",
            instead=True,
        )
    ]
    * 2,
    # Linked from vmlinux.o the alternatives would lie too far from code for conditional branches.
    # Linked from vmlinux.a it lacks .klp.symid, which only a patch of vmlinux itself needs.
    Edit("scripts/link-vmlinux.sh", r"is_enabled CONFIG_KLP_BUILD", "false", instead=True),
    # What objtool asks of an architecture.
    edits.at_end(f"{_OBJTOOL}/arch/powerpc/decode.c", _BRANCHES),
    edits.at_end(f"{_OBJTOOL}/arch/powerpc/special.c", _ALTERNATIVES),
    Edit(
        _DIFF,
        r"^static struct symbol \*__clone_symbol\(",
        _DISTANCE.replace("\\", r"\\") + r"\g<0>",
        instead=True,
    ),
    Edit(_DIFF, r"^\tstruct section \*out_sec = NULL;\n\tunsigned long offset = 0", ", lead = 0"),
    Edit(
        _DIFF,
        r"^\t\t\toffset = ALIGN\(sec_size\(out_sec\), out_sec->sh\.sh_addralign\);\n",
        "\t\tlead = toc_distance(patched_sym);\n\t\toffset += lead;\n",
    ),
    Edit(_DIFF, r"data = patched_sym->sec->data->d_buf \+ patched_sym->offset", " - lead"),
    Edit(_DIFF, r"^\t\t\t\tsize = patched_sym->len", " + lead"),
    Edit(
        _DIFF,
        r"^\t\tend = start \+ patched_sym->len;\n",
        "\t\tstart -= toc_distance(patched_sym);\n",
    ),
    # R_PPC64_ENTRY, the note for the linker at an entry, has no symbol.
    Edit(
        _DIFF,
        r"if \(reloc_type\(reloc\) == R_NONE\)",
        "if (reloc_type(reloc) == R_NONE || !reloc->sym->idx)",
        instead=True,
    ),
    # The kernel's loader knows no R_PPC64_NONE; this type it passes over.
    Edit(
        f"{_OBJTOOL}/klp-post-link.c",
        r"set_reloc_type\(elf, reloc, 0\)",
        "set_reloc_type(elf, reloc, R_PPC64_TOCSAVE)",
        instead=True,
    ),
    # The TOC is a table of pointers without symbols.
    Edit(_DIFF, r'^\t\t"__mcount_loc",\n', '\t\t".toc",\n'),
    # The sizes of entries that x86 gives its sections, or notes beside them.
    Edit(
        _DIFF,
        r"^\t\tentry_size = sec->sh\.sh_entsize;\n",
        '\t\tif (!entry_size && !strcmp(sec->name, "__bug_table"))\n\t\t\tentry_size = 12;\n'
        '\t\tif (!entry_size && !strcmp(sec->name, ".toc"))\n\t\t\tentry_size = 8;\n'
        '\t\tif (!entry_size && !strcmp(sec->name, "__ex_table"))\n\t\t\tentry_size = 8;\n'
        '\t\tif (!entry_size && !strcmp(sec->name, "__jump_table"))\n\t\t\tentry_size = 16;\n',
    ),
    # .TOC. is the patch module's own, and a copied symbol keeps its distance to the local entry.
    Edit(
        _DIFF,
        r"^\t/\* no external symbol to reference \*/\n",
        '\tif (!strcmp(patched_sym->name, ".TOC."))\n\t\treturn false;\n\n\\g<0>',
        instead=True,
    ),
    Edit(
        _DIFF,
        r"^sym_created:\n\tpatched_sym->clone",
        "\tout_sym->sym.st_other = patched_sym->sym.st_other;\n"
        '\tif (elf_update_symbol(elf, find_section_by_name(elf, ".symtab"),\n'
        '\t\t\t      find_section_by_name(elf, ".symtab_shndx"), out_sym))\n'
        "\t\treturn NULL;\n\n\\g<0>",
        instead=True,
    ),
    Edit(
        f"{_OBJTOOL}/elf.c", r"^static int elf_update_symbol", "int elf_update_symbol", instead=True
    ),
    Edit(
        f"{_OBJTOOL}/include/objtool/elf.h",
        r"^struct symbol \*elf_create_symbol\(",
        "int elf_update_symbol(struct elf *elf, struct section *symtab,\n"
        "\t\t      struct section *symtab_shndx, struct symbol *sym);\n\\g<0>",
        instead=True,
    ),
)


def build(root: Root, kernel: Kernel, patch: Patch, jobs: int) -> Path | None:
    """Run the kernel's klp-build for a patch; returns the module, or None when there is none.

    What it said stands in the file ``log`` of the patch's folder.
    """
    place = kernels.folders(root, kernel)
    folder = place.patches / patch.name / WAY
    module = folder / f"livepatch-{patch.name}.ko"
    if (folder / "status").exists():
        return module if module.exists() else None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "log"
    source = prepared(root, kernel)
    file = folder / f"{patch.name}.patch"
    file.write_text(edits.difference(patch.edits, source))
    environment = {
        "ARCH": "powerpc",
        "CROSS_COMPILE": f"{building.toolchain(root, kernel.compiler, log)}/nopfix-",
    }
    path = (root.cross(kernel.compiler),)
    root.run("make", "olddefconfig", log=log, cwd=source, environment=environment, path=path)
    script = source / "scripts/livepatch/klp-build"
    words = (script, "--jobs", jobs, "--keep-tmp", "--output", module.name, file)
    status = root.status(*words, log=log, cwd=source, environment=environment, path=path)
    if (source / module.name).exists():
        shutil.move(source / module.name, module)
    (folder / "status").write_text(f"{status}\n")
    return module if module.exists() else None


def prepared(root: Root, kernel: Kernel) -> Path:
    """A copy of the kernel's sources with `EDITS`, and the programs that klp-build runs."""
    place = kernels.folders(root, kernel)
    source = kernels.copy(root, kernel, WAY)
    if not (source / "prepared").exists():
        say(f"{kernel.name}: what klp-build needs")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        root.run(*INSTALL, log=place.log, environment=quiet)
        for name, (_old, new) in edits.apply(EDITS, source).items():
            (source / name).write_text(new)
        (source / "prepared").touch()
    return source
