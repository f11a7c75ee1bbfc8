"""`python -m chartqa_demo.report`; the code is in `evaluate/report.py`."""

import sys

from chartqa_demo.evaluate.report import main

if __name__ == "__main__":
    sys.exit(main())
