"""What the bundled model with its adapter reads: the command of `train.pretrain.reading`, see its `command.py`."""

import sys

from train.pretrain.reading.command import main

if __name__ == "__main__":
    sys.exit(main())
