"""``python -m rewriter`` is ``nopfix``."""

from rewriter.command import main

raise SystemExit(main())
