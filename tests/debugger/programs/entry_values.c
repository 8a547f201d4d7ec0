/* A parameter that only its value at the entry still tells: the caller's call site knows it. */
static volatile int sink;
static __attribute__((noipa)) void clobber(int value) { sink = value; }
static __attribute__((noipa)) int callee(int x)
{
    clobber(x + 1);
    sink = 2; /* stop here */
    return 3;
}
static __attribute__((noipa)) int caller(void)
{
    int result = callee(41);
    return result + sink;
}
int main(void)
{
    return caller() == 5 ? 0 : 1;
}
