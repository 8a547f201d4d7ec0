// gcc-12 | oracle | -O2 | differs: [N] .eh_frame+N
int table[64];
static __attribute__((noinline)) void leaf(int n) { table[n] += table[n + 1]; }
int work(int n) {
    volatile int *p = table;
    leaf(n);
    p[0] = n, p[1] = n, p[2] = n, p[3] = n;
    p[4] = n, p[5] = n, p[6] = n, p[7] = n;
    p[8] = n, p[9] = n, p[10] = n, p[11] = n;
    p[12] = n, p[13] = n, p[14] = n, p[15] = n;
    p[16] = n, p[17] = n, p[18] = n, p[19] = n;
    leaf(n + 1);
    p[20] = n, p[21] = n, p[22] = n, p[23] = n;
    p[24] = n, p[25] = n, p[26] = n, p[27] = n;
    p[28] = n, p[29] = n, p[30] = n, p[31] = n;
    p[32] = n, p[33] = n, p[34] = n, p[35] = n;
    p[36] = n, p[37] = n, p[38] = n, p[39] = n;
    return n;
}
