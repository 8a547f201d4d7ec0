// Exceptions: landing pads, cleanups, a filter, two types to catch.
struct error
{
  int code;
};
struct guard
{
  int *where;
  ~guard ();
};

static __attribute__ ((noinline)) int
raise (int code)
{
  if (code > 3)
    throw error{ code };
  if (code == 2)
    throw code;
  return code;
}

__attribute__ ((noinline)) guard::~guard () { *where = 0; }

int
attempt (int x)
{
  int left = 3;
  guard g{ &left };
  try
    {
      x += raise (x);
      x += raise (x + 1);
    }
  catch (const error &e)
    {
      return e.code + raise (0);
    }
  catch (int i)
    {
      return i;
    }
  return x;
}

int
main (int argc, char **)
{
  try
    {
      return attempt (argc);
    }
  catch (...)
    {
      return raise (1);
    }
}
