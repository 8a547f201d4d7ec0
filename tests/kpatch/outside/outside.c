// SPDX-License-Identifier: MIT
/* A module that no kernel has: a file in /proc, shown by functions that call others of this file. */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int shown;

static noinline int outside_next(int step)
{
	shown += step;
	return shown;
}

static int outside_show(struct seq_file *m, void *unused)
{
	int number;

	number = outside_next(1);
	seq_printf(m, "shown %d\n", number);
	return 0;
}

static int __init outside_init(void)
{
	return proc_create_single("nopfix-outside", 0444, NULL, outside_show) ? 0 : -ENOMEM;
}

static void __exit outside_exit(void)
{
	remove_proc_entry("nopfix-outside", NULL);
}

module_init(outside_init);
module_exit(outside_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("A module out of the kernel's tree");
