"""ChartQA side by side: one chart, one question, three answers of one base model."""

import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent out
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# A kernel from the Hub is code that nobody here has read. With the `kernels` package, bitsandbytes fetches and runs one
# as it is imported, and transformers runs others; to both, a package that cannot be imported is not there.
if os.environ.setdefault("USE_HUB_KERNELS", "NO").upper() not in ("1", "ON", "TRUE", "YES"):
    sys.modules.setdefault("kernels", None)  # pyright: ignore[reportArgumentType]
