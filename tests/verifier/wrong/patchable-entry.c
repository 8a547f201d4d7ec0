/* Functions with nops in front of them that __patchable_function_entries names. */
int leaf(int);
static __attribute__((noinline)) int twice(int x) { return leaf(x) + leaf(x); }
int choose(int x)
{
	switch (x) {
	case 2: return twice(x) + 5;
	case 3: return leaf(x) * 3;
	case 4: return leaf(4) - 1;
	case 5: return twice(3) << 2;
	case 6: return leaf(x) * 17;
	case 7: return twice(1) * 19;
	case 8: return leaf(x) + 21;
	}
	return x;
}
int one(int x) { return x ^ 1; }
int two(int x) { return twice(x) - twice(2); }
int three(int x) { return twice(x) * twice(9) + twice(7); }
int four(int x) { return x * x; }
int five(int x) { return twice(x) + 1234567; }
int six(int x) { return x - 6; }
