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

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kpatch.kernels import Kernel
    from tests.kpatch.patches import Patch
    from tests.kpatch.root import Root

WAY = "klp"
# What objtool needs beside what kpatch-build does.
INSTALL = ("apt-get", "install", "-qqy", "libxxhash-dev", "pkgconf")

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
    # Linked from vmlinux.o, vmlinux would have its alternatives too far from the code for conditional
    # branches; linked from vmlinux.a it lacks .klp.symid, which only a patch of vmlinux itself needs.
    Edit("scripts/link-vmlinux.sh", r"is_enabled CONFIG_KLP_BUILD", "false", instead=True),
    # What objtool asks of an architecture.
    edits.at_end(f"{_OBJTOOL}/arch/powerpc/decode.c", _BRANCHES),
    edits.at_end(f"{_OBJTOOL}/arch/powerpc/special.c", _ALTERNATIVES),
    # .TOC. is the patch module's own, and a copied symbol keeps its distance to the local entry.
    Edit(
        f"{_OBJTOOL}/klp-diff.c",
        r"^\t/\* no external symbol to reference \*/\n",
        '\tif (!strcmp(patched_sym->name, ".TOC."))\n\t\treturn false;\n\n\\g<0>',
        instead=True,
    ),
    Edit(
        f"{_OBJTOOL}/klp-diff.c",
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
