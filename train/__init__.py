"""Fine-tuning: `python -m train`, installed as `chartqa-train`. Imports the app's rooms below `ui`, never gradio."""

import sys


def main() -> int:
    """`chartqa-train`: what `python -m train` is, and a sentence where the extra that it needs is not installed."""
    try:
        from train.__main__ import main as train
    except ModuleNotFoundError as error:
        if error.name not in ("trl", "httpx2", "tokenizers"):
            raise
        print("error: training needs more: pip install 'chartqa-side-by-side[train]'", file=sys.stderr)
        return 2
    return train()
