// C++: call sites in .gcc_except_table, landing pads, unwind rows.
// powerpc64le-linux-gnu-g++ -O2 -c cleanup.cc -o cleanup.o

extern void acquire(int);
extern void release(int);

namespace {

int balance;

__attribute__((noinline)) void account(int amount)
{
	if (amount < 0)
		throw amount;
	balance += amount;
}

struct Hold {
	int which;
	explicit Hold(int which) : which(which) { acquire(which); }
	~Hold() { release(which); }
};

}

int transfer(int from, int to, int amount)
{
	Hold first(from);
	Hold second(to);
	try {
		account(-amount);
		account(amount);
	} catch (int refused) {
		account(refused * refused);
		return -1;
	}
	return balance;
}
