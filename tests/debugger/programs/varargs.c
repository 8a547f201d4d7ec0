/* Variable arguments: the parameter save area, and a list walked between calls. */
#include <stdarg.h>
#include <stdio.h>
static __attribute__((noinline)) int weigh(int value, int place) { return value * place; }
static __attribute__((noinline)) int sum(int count, ...)
{
    va_list list;
    int result = 0;
    va_start(list, count);
    for (int i = 1; i <= count; i++) {
        int value = va_arg(list, int);
        result += weigh(value, i);
    }
    va_end(list);
    return result;
}
static __attribute__((noinline)) int both(int a, int b)
{
    int few = sum(2, a, b);
    int many = sum(10, a, b, few, 1, 2, 3, 4, 5, 6, few);
    return many - few + a;
}
int main(void)
{
    printf("%d\n", both(3, 4));
    return 0;
}
