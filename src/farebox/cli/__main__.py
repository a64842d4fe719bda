"""`python -m farebox.cli` is `farebox`."""

import sys

from farebox.cli import main

sys.exit(main())
