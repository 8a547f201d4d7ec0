/* Inlined functions with locals in several ranges, and calls that clobber them. */
#include <stdio.h>
static __attribute__((noinline)) int scale(int value) { return value * 3; }
static inline int step(int value)
{
    int once = scale(value) + 1;
    return scale(once) + once;
}
static inline int twice(int value)
{
    int half = step(value);
    return half + step(half + value);
}
static __attribute__((noinline)) int total(int from, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++) {
        int part = twice(from + i);
        if (part % 2)
            sum += part;
        else
            sum -= scale(part);
    }
    return sum;
}
int main(void)
{
    printf("%d\n", total(1, 3) + total(5, 2));
    return 0;
}
