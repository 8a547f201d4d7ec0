/* Calls, a switch table, locals that move: one of everything, as small as that can be. */
extern int out(int);
static int depth;
static __attribute__((noinline)) int leaf(int v) { depth++; return v < 0 ? out(v) : v + depth; }
int pick(int kind, int v)
{
	int a = leaf(v);
	switch (kind) {
	case 0: return leaf(a) + 1;
	case 1: return out(v) * leaf(v);
	case 2: return a - leaf(3);
	case 3: return leaf(a + v) ^ a;
	case 4: return a;
	case 5: return leaf(kind) & v;
	default: return -1;
	}
}
