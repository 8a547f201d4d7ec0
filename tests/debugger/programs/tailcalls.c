/* Sibling calls: frames that a debugger has to infer from the call sites of their callers. */
#include <stdio.h>
static volatile int seen;
static __attribute__((noinline)) int last(int value, int mark)
{
    seen += mark;
    return value + seen;
}
static __attribute__((noinline)) int middle(int value) { return last(value + 1, 2); }
static __attribute__((noinline)) int first(int value, int mark)
{
    int changed = last(value, mark);
    return middle(changed * 2);
}
int main(void)
{
    int result = first(20, 1);
    result += first(result, 3);
    printf("%d\n", result);
    return 0;
}
