#include <stdio.h>
static __attribute__((noinline)) int leaf(int x) { return x * 3; }
static __attribute__((noinline)) int down(int depth, int acc)
{
    int mine = leaf(depth) + acc;
    if (depth == 0)
        return mine;
    return down(depth - 1, mine) + mine;
}
int main(void) { printf("%d\n", down(4, 1)); return 0; }
