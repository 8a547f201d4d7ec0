/* One entry in each kind of table that the kernel points into code with. */
extern long out(long);
static __attribute__((noinline)) long leaf(long v) { return out(v) + 1; }

#define RELATIVE(section, fields) \
	asm volatile("1: nop\n2:\n.pushsection " section ",\"a\"\n.balign 8\n3: " fields "\n.popsection")

long special(long v)
{
	RELATIVE("__ex_table", ".long 1b-.\n.long 2b-.");
	v += leaf(v);
	RELATIVE("__bug_table", ".long 1b-.\n.long 2b-.\n.short 7, 1");
	v ^= leaf(v);
	RELATIVE("__mcount_loc", ".quad 1b");
	v += leaf(v);
	RELATIVE("__lwsync_fixup", ".quad 1b-3b");
	v -= leaf(v);
	RELATIVE("__ftr_fixup", ".quad 1, 1, 1b-3b, 2b-3b, 0, 0");
	return leaf(v);
}
