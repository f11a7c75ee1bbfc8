"""What this device can do at most, measured, and the shortest time that a model's work can take on it."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from chartqa_demo.engines.looks import Look


def ceilings(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Bytes per second of a large copy (read and written ones counted) and operations per second of a large product of
    random matrices, medians of five."""
    on_gpu = device.type == "cuda"
    size = 2**31 if on_gpu else 2**27
    source, target = torch.empty(size, dtype=torch.uint8, device=device), torch.empty(0)
    source.random_()
    target = torch.empty_like(source)
    edge = 8192 if on_gpu else 1024
    a, b = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
    copied = _seconds(lambda: target.copy_(source), device)
    multiplied = _seconds(lambda: a @ b, device)
    return {"copy_bytes_per_s": 2 * size / copied, "matmul_ops_per_s": 2 * edge**3 / multiplied}


def floor_s(base: Any, look: Look, prompts: Sequence[int], tokens: int, measured: dict[str, float]) -> dict[str, Any]:
    """Seconds for one vision pass, a prefill and `tokens` - 1 decode steps at the measured ceilings.

    prompts: prompt tokens per row. A decode step reads every weight of the language model and its head once (the
    embedding is a lookup and the vision tower is done) and the cache of all rows; vision and prefill count operations.
    `total_reading_all` is the same as if a step read all weights of the model.
    """
    text, vision = base.config.text_config, base.config.vision_config
    language, head = base.model.language_model, base.lm_head

    def held(module: Any) -> int:
        return sum(weight.numel() * weight.element_size() for weight in module.parameters())

    layer_weights = (
        text.hidden_size * text.hidden_size * 2  # q and o
        + text.hidden_size * text.hidden_size // text.num_attention_heads * text.num_key_value_heads * 2
        + text.hidden_size * text.intermediate_size * 3
    )
    per_slot = 2 * text.num_key_value_heads * (text.hidden_size // text.num_attention_heads) * base.dtype.itemsize
    per_slot *= text.num_hidden_layers
    step_bytes = held(language.layers) + held(head) + per_slot * sum(prompt + tokens / 2 for prompt in prompts)
    prefill = (
        sum(text.num_hidden_layers * (2 * layer_weights * n + 4 * n * n / 2 * text.hidden_size) for n in prompts)
        + len(prompts) * 2 * text.hidden_size * text.vocab_size
    )
    patches = look.tokens * vision.spatial_merge_size**2
    tower = sum(weight.numel() for name, weight in base.model.visual.named_parameters() if "merger" not in name)
    merger = sum(weight.numel() for weight in base.model.visual.merger.parameters())
    looked = 2 * tower * patches + 2 * merger * look.tokens + vision.depth * 4 * patches**2 * vision.embed_dim
    rate, bandwidth = measured["matmul_ops_per_s"], measured["copy_bytes_per_s"]
    reading, decode = (looked / rate, prefill / rate), (tokens - 1) * step_bytes / bandwidth
    spare = (tokens - 1) * (held(base) - held(language.layers) - held(head)) / bandwidth
    return {
        "vision": round(reading[0], 5),
        "prefill": round(reading[1], 5),
        "decode": round(decode, 5),
        "step_gb": round(step_bytes / 1e9, 3),
        "total": round(sum(reading) + decode, 5),
        "total_reading_all": round(sum(reading) + decode + spare, 5),
    }


def _seconds(run: Callable[[], object], device: torch.device, repeats: int = 5, inner: int = 5) -> float:
    run()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(inner):
            run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - began) / inner)
    return median(times)
