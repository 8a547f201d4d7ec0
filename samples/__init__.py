"""Small real objects, with the sources and commands that made them, and a demonstration."""
