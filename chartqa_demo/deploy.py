"""`python -m chartqa_demo.deploy`; the code is in `space/deploy.py`."""

from chartqa_demo.space.deploy import main

if __name__ == "__main__":
    main()
