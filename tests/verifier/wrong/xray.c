/* Sleds of XRay, each aligned to eight bytes. */
int leaf(int);
static __attribute__((noinline)) int twice(int x) { return leaf(x) + leaf(2); }
int a(int x) { return twice(x) + 1; }
int b(int x) { return twice(x) * twice(x); }
int c(int x) { return twice(x) - twice(3) + twice(4); }
