"""`python -m verifier` is `nopfix-verify`."""

import sys

from verifier.command import main

sys.exit(main())
