"""``python -m lmi_runtime app.handler``."""

import sys

from lmi_runtime.bootstrap import main

if __name__ == "__main__":
    sys.exit(main())
