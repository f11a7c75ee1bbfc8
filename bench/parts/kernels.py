"""Triton's kernels compiled for GPUs that are not here: shared memory and registers of each, on each architecture.

    python -m bench.parts.kernels --output bench/results/kernels.json

Triton compiles for any GPU on any machine. Every kernel is called as an answer calls it, in the shapes of Qwen2-VL-7B,
with a stand-in for the GPU's driver, so that what is compiled is what would be launched. Nothing is launched.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from bench.parts.random_model import TEXT_7B, VISION_7B
from chartqa_demo.engines.fast.kernels import attention, choice, launching, passes, placing, products
from chartqa_demo.engines.fast.weights import nf4
from chartqa_demo.engines.fast.weights.joining import TUNING

# Bytes of shared memory that one program may take: CUDA's programming guide, "Technical Specifications per Compute
# Capability"; the LDS of a workgroup in AMD's instruction set guides. And an example of each.
TARGETS = {
    "sm_75": (GPUTarget("cuda", 75, 32), 65_536, "T4"),
    "sm_80": (GPUTarget("cuda", 80, 32), 166_912, "A100"),
    "sm_86": (GPUTarget("cuda", 86, 32), 101_376, "A10G, RTX 3090"),
    "sm_89": (GPUTarget("cuda", 89, 32), 101_376, "L4, RTX 4090"),
    "sm_90": (GPUTarget("cuda", 90, 32), 232_448, "H100, H200"),
    "sm_100": (GPUTarget("cuda", 100, 32), 232_448, "B200"),
    "sm_120": (GPUTarget("cuda", 120, 32), 101_376, "RTX 5090"),
    "gfx942": (GPUTarget("hip", "gfx942", 64), 65_536, "MI300X"),
    "gfx1100": (GPUTarget("hip", "gfx1100", 32), 65_536, "RX 7900 XTX"),
}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
NO_BFLOAT16 = ("sm_75",)
# By kernels only, never launched
CALLED = ("_prmt", "_pair", "_nf4_four", "_nf4_found", "_nf4_read", "_attention_part", "_ridden", "_halves_turned")
# Where `layers.fuse` does without a kernel, and why it cannot be compiled there
LEFT_OUT = {"nf4_product": {"sm_75": "cvt.rn.f16x2.f32 came with sm_80", "gfx942": nf4.FOREIGN, "gfx1100": nf4.FOREIGN}}
HOMES = attention, choice, passes, placing, products


def compiled(target: str, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """Of every kernel for weights in `dtype`, but for LEFT_OUT: its name, bytes of shared memory, what was compiled.
    Raises whatever Triton raises where one cannot be."""
    made: list[dict[str, Any]] = []
    with _without_a_gpu(target, made):
        for name, call in _calls(dtype).items():
            if target in LEFT_OUT.get(name.split(",")[0], {}):
                continue
            made.clear()
            call()
            for one in made:
                yield {"kernel": name, **one}


def main() -> int:
    """Exit code: 0 every kernel compiles and fits, 1 not; the table is written either way."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.kernels", description="Kernels on GPUs elsewhere.")
    parser.add_argument("--output", type=Path, help="JSON file")
    flags = parser.parse_args()
    rows, fit = [], True
    for target, (_, most, example) in TARGETS.items():
        for precision, dtype in DTYPES.items():
            if precision == "bfloat16" and target in NO_BFLOAT16:
                continue
            for one in compiled(target, dtype):
                kernel = one.pop("compiled")
                rows.append({"architecture": target, "dtype": precision, **one, **_registers(kernel)})
                fit = fit and one["shared_bytes"] <= most
        print(f"{target} ({example}): at most {max(r['shared_bytes'] for r in rows if r['architecture'] == target):,} "
              f"of {most:,} bytes", *(f"; without {name}: {why[target]}" for name, why in LEFT_OUT.items()
              if target in why), sep="", file=sys.stderr)  # fmt: skip
    found = {
        "command": "python -m bench.parts.kernels",
        "versions": {name: version(name) for name in ("torch", "triton")},
        "shapes": "Qwen2-VL-7B, three rows",
        "shared_bytes_allowed": {target: most for target, (_, most, _) in TARGETS.items()},
        "left_out": LEFT_OUT,
        "fits": fit,
        "kernels": rows,
    }
    if flags.output:
        lines = ",\n    ".join(json.dumps(row) for row in found.pop("kernels"))
        text = json.dumps(found, indent=2)[:-2] + f',\n  "kernels": [\n    {lines}\n  ]\n}}\n'
        flags.output.write_text(text, encoding="utf-8")
    return 0 if fit else 1


def _calls(dtype: torch.dtype) -> dict[str, Any]:
    """By name a call of each kernel, on the host, in the shapes of a decode step of three rows and of the tower."""
    hidden, inner, heads, kv_heads = (
        TEXT_7B[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    )
    width, seen = hidden // heads, VISION_7B["embed_dim"] // VISION_7B["num_heads"]
    norm, whole = torch.nn.RMSNorm(hidden, dtype=dtype), torch.empty(3, 1, heads + 2 * kv_heads, width, dtype=dtype)
    q, k, v = whole.split((heads, kv_heads, kv_heads), dim=2)
    patches, cache = torch.empty(16, 3, VISION_7B["num_heads"], seen, dtype=dtype), torch.empty(3, kv_heads, 512, width)
    cache, row = cache.to(dtype), torch.empty(3, 1, hidden, dtype=dtype)
    matrix = torch.empty(1, dtype=dtype).expand(2 * inner, hidden)  # its elements are not read
    matrix.contiguous = lambda: matrix  # pyright: ignore[reportAttributeAccessIssue]
    gate, up = torch.empty(3, 1, 2 * inner, dtype=dtype).split(inner, dim=-1)
    size, slots = (heads + 2 * kv_heads) * width, torch.zeros(3, dtype=torch.long)
    sums, prompts = torch.empty(3, 2, size + TUNING), torch.empty(3, 7, size + TUNING, dtype=dtype)
    bias, ranks = torch.empty(size + TUNING, dtype=dtype), torch.empty(32, size, dtype=dtype)
    logits, said = (torch.empty(3, TEXT_7B["vocab_size"], dtype=kind) for kind in (torch.float32, torch.bool))
    tower = torch.empty(16, VISION_7B["embed_dim"], dtype=dtype)
    tower_norm = torch.nn.LayerNorm(VISION_7B["embed_dim"], dtype=dtype)
    in_half = {} if dtype == torch.float32 else {
        "attention": lambda: attention.attention(
            patches[:, 0], patches[:, 1], patches[:, 2], torch.ones(1, dtype=torch.int32)
        ),
        "nf4_product": lambda: products.nf4_product(row, _nf4((hidden,), hidden, None)),
        "nf4_product, q, k, v": lambda: products.nf4_product(row, _nf4((hidden, 1024), hidden, norm.weight)),
        "nf4_product, gate, up": lambda: products.nf4_product(row, _nf4((inner, inner), hidden, None)),
        "nf4_product, ragged": lambda: products.nf4_product(row, _nf4((70,), 320, None)),
    }  # fmt: skip
    return in_half | {
        "add_norm": lambda: passes.add_norm(torch.empty(3, 1, hidden), row, norm, 1e-6),
        "rotated": lambda: passes.rotated(q, k, v, whole[:, :, 0], whole[:, :, 0]),
        "placed": lambda: placing.placed(
            sums, bias, ranks, (2, 3, 2.0), whole[:, :, 0], whole[:, :, 0], cache, cache, slots, heads
        ),
        "placed, prompts": lambda: placing.placed(
            prompts, None, None, (0, 0, 0.0), prompts[..., :width], prompts[..., :width], cache, cache, slots, heads
        ),
        "turned": lambda: placing.turned(patches, patches[:, 0, 0], patches[:, 0, 0]),
        "best": lambda: choice.best(logits, said),
        "added_norm": lambda: placing.added_norm(tower, tower, tower_norm),
        "store": lambda: passes.store(cache, cache, k, v, slots),
        "gated": lambda: passes.gated(gate, up),
        "quick_gelu": lambda: passes.quick_gelu(patches),
        "product": lambda: products.product(row, matrix),
        "gated_product": lambda: products.gated_product(row, matrix, inner),
    }


def _nf4(sizes: tuple[int, ...], inputs: int, bias: torch.Tensor | None) -> nf4.Matrix:
    """A matrix of this size, none of whose weights is read."""
    small, byte = torch.empty(256), torch.empty(4, dtype=torch.uint8)
    return nf4.Matrix(byte, byte, small, small, small, (0.5,) * 16, bias, sizes, inputs)


class _Driver:
    """In place of a GPU's driver: what compiling asks of it."""

    def __init__(self, target: GPUTarget) -> None:
        self.get_current_target = lambda: target
        self.get_current_device = lambda: 0
        self.get_current_stream = lambda device: 0


class _Compiles:
    """In place of a kernel: a launch compiles it, and no more."""

    def __init__(self, kernel: Any, made: list[dict[str, Any]]) -> None:
        self._kernel, self._made = kernel, made

    def __getitem__(self, grid: Any) -> Any:
        def launch(*args: Any, **options: Any) -> None:
            one = self._kernel.warmup(*args, grid=grid, **options)
            self._made.append({"shared_bytes": one.metadata.shared, "compiled": one})

        return launch


@contextmanager
def _without_a_gpu(target: str, made: list[dict[str, Any]]) -> Iterator[None]:
    gpu, most, _ = TARGETS[target]
    with ExitStack() as stack:
        for home, (name, kernel) in [(module, one) for module in HOMES for one in vars(module).items()]:
            if isinstance(kernel, JITFunction) and name not in CALLED:
                kernel.device_caches.clear()
                stack.enter_context(patch.object(home, name, _Compiles(kernel, made)))
                stack.callback(kernel.device_caches.clear)
        stack.enter_context(patch.object(launching, "shared_memory", lambda device: most))
        stack.enter_context(patch.object(driver, "_active", _Driver(gpu)))
        yield


def _registers(kernel: Any) -> dict[str, int]:
    """Registers of a thread as the assembler counts them, and bytes that did not fit into them."""
    if "amdgcn" in kernel.asm:
        said = {key: int(n) for key, n in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", kernel.asm["amdgcn"])}
        return {"registers": said["vgpr_count"], "spilled": said["vgpr_spill_count"]}
    assembler = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    target = re.search(r"\.target (sm_\w+)", kernel.asm["ptx"])
    assert target is not None
    newer = assembler.with_name("ptxas-blackwell")
    assembler = newer if int(re.sub(r"\D", "", target[1])) >= 100 and newer.exists() else assembler
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(kernel.asm["ptx"])
        command = [assembler, "-v", f"--gpu-name={target[1]}", source, "-o", source.with_suffix(".cubin")]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    used, spilled = re.search(r"Used (\d+) registers", told), re.search(r"(\d+) bytes spill stores", told)
    return {"registers": int(used[1]) if used else 0, "spilled": int(spilled[1]) if spilled else 0}


if __name__ == "__main__":
    sys.exit(main())
