/* Kernel flags: every function in a section of its own, calls to itself without relocation.
   powerpc64le-linux-gnu-gcc -O2 -mcmodel=large -ffunction-sections -fdata-sections \
   -mprofile-kernel -pg -mtraceback=no -fno-optimize-sibling-calls -c recursion.c -o recursion.o */

struct node {
	struct node *left, *right;
	long weight;
};

static __attribute__((noinline)) long weigh(const struct node *node)
{
	if (!node)
		return 0;
	return weigh(node->left) + weigh(node->right) + node->weight;
}

long balance(const struct node *node)
{
	if (!node)
		return 0;
	return weigh(node->left) - weigh(node->right);
}
