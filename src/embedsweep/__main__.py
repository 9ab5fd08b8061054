"""``python -m embedsweep``."""

import sys

from embedsweep.cli import main

sys.exit(main())
