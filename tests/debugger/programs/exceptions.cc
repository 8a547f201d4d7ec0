// Exceptions through frames with destructors; the landing pads follow calls.
#include <cstdio>
static int destroyed;
struct Guard {
    int id;
    explicit Guard(int number) : id(number) {}
    ~Guard();
};
__attribute__((noinline)) Guard::~Guard() { destroyed += id; }
static __attribute__((noinline)) int check(int value)
{
    if (value > 2)
        throw value;
    return value + 1;
}
static __attribute__((noinline)) int guarded(int value)
{
    Guard outer(value);
    int first = check(value);
    Guard inner(first);
    return first + check(first);
}
static __attribute__((noinline)) int attempt(int value)
{
    int result = 0;
    try {
        result = guarded(value);
    } catch (int caught) {
        result = -caught;
    }
    return result + destroyed;
}
int main()
{
    int sum = 0;
    for (int i = 0; i < 4; i++)
        sum = sum * 7 + attempt(i);
    std::printf("%d\n", sum);
    return 0;
}
