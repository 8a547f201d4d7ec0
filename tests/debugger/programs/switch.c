/* A switch table in the code section; its cases call and join again. */
#include <stdio.h>
static __attribute__((noinline)) int work(int kind, int value) { return value * 2 + kind; }
static __attribute__((noinline)) int choose(int kind, int value)
{
    int result = value;
    switch (kind) {
    case 0: result += work(1, value); break;
    case 1: result = work(result, 2) - 4; break;
    case 2: result -= work(3, result); /* fall through */
    case 3: result ^= 5; break;
    case 4: result = work(work(value, 1), 2); break;
    case 5: result = 9; break;
    case 6: result += work(kind, kind); break;
    default: result = -1;
    }
    return result + work(0, result);
}
int main(void)
{
    int sum = 0;
    for (int kind = 0; kind < 8; kind++)
        sum = sum * 3 + choose(kind, kind + 10);
    printf("%d\n", sum);
    return 0;
}
