"""Mutated objects for the rewriter: `python -m tests.fuzz --seconds N` runs for N seconds.

* `mutate` knows where an object keeps its numbers and puts bad ones there;
* `judge` runs the command on one input and says what was wrong with how it ended;
* ``seeds`` are small objects as compilers write them;
* the program itself generates inputs: with atheris, which prefers those that reach new code, or
  without it at random.
"""
