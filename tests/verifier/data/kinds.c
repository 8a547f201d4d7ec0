/* Something of everything that points into code: calls with and without a slot, a switch table,
   loops, a cold path, a table of function addresses, label addresses, variables whose location
   changes at calls. */
extern int elsewhere (int);
extern void give_up (int) __attribute__ ((noreturn, cold));

int counter = 5;
static const char text[] = "a string in .rodata";

static __attribute__ ((noinline)) int
twice (int x)
{
  return elsewhere (x) * 2;
}

static __attribute__ ((noinline)) int
chosen (int which, int x)
{
  switch (which)
    {
    case 0: return twice (x);
    case 1: x += twice (x + 1); break;
    case 2: x -= twice (counter); break;
    case 3: return x * 7;
    case 4: x ^= twice (3); break;
    case 5: counter = x; break;
    case 7: give_up (twice (x));
    default: return text[x & 7];
    }
  return x + counter;
}

int (*const functions[]) (int) = { twice, elsewhere };

int
labels (int x)
{
  static void *const where[] = { &&one, &&two, &&three };
  goto *where[x % 3];
one:
  x += twice (x);
two:
  x += chosen (2, x);
three:
  return x;
}

int
main (int argc, char **argv)
{
  int sum = 0;
  for (int i = 0; i < argc; i++)
    {
      sum += chosen (i, argv[i][0]);
      if (sum > 100)
        sum -= twice (sum);
    }
  return sum + functions[argc & 1](sum);
}
