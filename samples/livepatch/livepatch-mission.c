// SPDX-License-Identifier: GPL-2.0
/*
 * The case that nopfix exists for, as small as it gets.
 *
 * cmdline_proc_show() is replaced, and the replacement calls show_line(), a function that is static
 * in its file.  The compiler knows that caller and callee share a TOC and writes a bare `bl`.  In a
 * live patch the caller lives in a module and the callee stays in the kernel: the test makes
 * show_line an undefined symbol that the module loader resolves to the kernel's seq_puts(), as
 * kpatch does with its own relocations.  The loader then needs the instruction behind the `bl` to
 * restore r2.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

/* Read through r2, so a wrong TOC shows. */
static const char *const mission_text = "r2 intact";
static unsigned long mission_shown;

static __attribute__((noipa)) void show_line(struct seq_file *m, const char *text)
{
	/* Never run in the test: the loader resolves the call to seq_puts(). */
	pr_info("mission: the call did not leave the module\n");
	seq_printf(m, "%s", text);
}

static __always_inline unsigned long toc(void)
{
	unsigned long value;

	asm volatile("mr %0,2" : "=r"(value));
	return value;
}

static int livepatch_cmdline_proc_show(struct seq_file *m, void *v)
{
	unsigned long before = toc();

	show_line(m, "mission: ");
	mission_shown++;
	if (toc() == before)
		seq_printf(m, "%s after call %lu\n", mission_text, mission_shown);
	else
		seq_printf(m, "r2 lost\n");
	return 0;
}

static struct klp_func funcs[] = {
	{
		.old_name = "cmdline_proc_show",
		.new_func = livepatch_cmdline_proc_show,
	}, { }
};

static struct klp_object objs[] = {
	{
		/* name being NULL means vmlinux */
		.funcs = funcs,
	}, { }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
	.replace = true,
};

static int livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

static void livepatch_exit(void)
{
}

module_init(livepatch_init);
module_exit(livepatch_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
