"""`python -m stress.bench` is the side by side with awslambdaric; the others have own names."""

import sys

from stress.bench.against_awslambdaric import main

if __name__ == "__main__":
    sys.exit(main())
