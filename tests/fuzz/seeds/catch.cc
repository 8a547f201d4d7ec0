extern void risk(int);
struct guard { ~guard(); };
static __attribute__((noinline)) int inner(int v) { guard g; risk(v); return v; }
int outer(int v) { try { guard g; return inner(v) + inner(v + 1); } catch (int e) { return inner(e); } }
