"""``python -m ambient`` is the same as ``ambient``."""

import sys

from ambient.cli import main

if __name__ == "__main__":
    sys.exit(main())
