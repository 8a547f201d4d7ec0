/* Calls that GCC leaves without a slot, and a switch table between them.
   powerpc64le-linux-gnu-gcc -O2 -g -c dispatch.c -o dispatch.o */

extern int log_event(int kind, int value);

static int depth;

static __attribute__((noinline)) int clamp(int value)
{
	depth++;
	return value < 0 ? 0 : value > 255 ? 255 : value;
}

static __attribute__((noinline)) int scale(int value, int factor)
{
	return log_event(1, value) + clamp(value * factor);
}

int dispatch(int operation, int value)
{
	switch (operation) {
	case 0:
		return clamp(value) + 1;
	case 1:
		return scale(value, 3) - clamp(value);
	case 2:
		return log_event(2, value);
	case 3:
		return scale(clamp(value), 7) * 2;
	case 4:
		return clamp(scale(value, 2)) + depth;
	case 5:
		return value;
	case 6:
		return dispatch(value & 3, value - 1) + clamp(operation);
	default:
		return -1;
	}
}
