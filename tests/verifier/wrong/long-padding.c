/* clang's functions on multiples of 64 bytes. */
int leaf(int);
static __attribute__((noinline)) int twice(int x) { return leaf(x) + leaf(2); }
int a(int x) { return twice(x) + twice(5); }
int b(int x) { return twice(x) - 1; }
