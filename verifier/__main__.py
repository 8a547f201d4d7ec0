"""`python -m nopfix.verifier` is `nopfix-verify`."""

import sys

from nopfix.verifier.command import main

sys.exit(main())
