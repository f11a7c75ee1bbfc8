"""What changes the whole process is in one function, and nowhere else."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROCESS_WIDE = ("enable_cudnn_sdp", "mallopt", "sys.modules", ".setLevel(", "set_num_threads")

STARTED = """
import sys
from chartqa_demo.engines.startup import start_up
from chartqa_demo.settings import Settings
import torch
torch.cuda.is_available = lambda: False
start_up(Settings(quantize=sys.argv[1]))
print("blocked" if sys.modules.get("bitsandbytes", 0) is None else "not blocked")
"""


@pytest.mark.parametrize(("quantize", "expected"), [("none", "blocked"), ("auto", "blocked"), ("4bit", "not blocked")])
def test_a_cpu_is_spared_bitsandbytes_unless_weights_are_to_be_quantised(quantize: str, expected: str) -> None:
    command = [sys.executable, "-c", STARTED, quantize]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == expected, done.stderr


def test_only_the_start_up_changes_what_the_whole_process_would_notice() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {sign}"
        for path in (ROOT / "chartqa_demo" / "engines").rglob("*.py")
        for sign in PROCESS_WIDE
        if sign in path.read_text(encoding="utf-8") and path.name != "startup.py"
    ]
    assert found == []
