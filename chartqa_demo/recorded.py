"""`python -m chartqa_demo.recorded`; the code is in `space/recorded.py`."""

from chartqa_demo.space.recorded import main

if __name__ == "__main__":
    main()
