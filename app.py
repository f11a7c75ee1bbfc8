"""Entry of the Hugging Face Space, and of a start from a checkout; what it does is in `chartqa_demo/__main__.py`."""

import spaces  # isort: skip  # noqa: F401  on ZeroGPU it has to come before anything that imports torch

from chartqa_demo.__main__ import main

if __name__ == "__main__":
    main()
