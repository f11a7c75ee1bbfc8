"""`python -m chartqa_demo.evaluate`; the code is in `run.py`."""

import sys

from chartqa_demo.evaluate.run import main

if __name__ == "__main__":
    sys.exit(main())
