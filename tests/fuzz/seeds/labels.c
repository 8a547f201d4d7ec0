/* Distances of labels in static variables that no slot changes, and one that no label is at. */
static void __attribute__((noinline)) call(int *p) { asm volatile("" : : "r"(p) : "memory"); }

const void *f(int n, int *p)
{
    static const int x[] = {&&b - &&a, 8, 400};
    static long y = (char *)&&d - (char *)&&c;

    *p = y;
a:  call(p);
b:  call(p + 1);
c:  asm volatile("" : : "r"(n));
d:  if (n > *p) goto a;
    if (n > p[1]) goto b;
    if (n > p[2]) goto c;
    if (n > p[3]) goto d;
    return &x;
}
