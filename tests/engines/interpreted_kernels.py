"""A process of its own, in which Triton interprets its kernels on the CPU (TRITON_INTERPRET, read when Triton is
imported): one engine answers by torch's operations, then fused by the kernels; prints what the test compares."""

import json
import sys
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import triton.language as tl
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from bitsandbytes.nn import Linear4bit
from triton.runtime.interpreter import TensorHandle

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.engines import Options
from chartqa_demo.engines.fast import layers, plain, tower
from chartqa_demo.engines.fast.kernels import attention, passes, placing, products, proofs
from chartqa_demo.engines.fast.layers import Adapted
from chartqa_demo.engines.fast.weights import nf4
from chartqa_demo.settings import Settings

if TYPE_CHECKING:  # the kernels alone need neither models nor adapters
    from chartqa_demo.engines.fast.steps import Step
    from chartqa_demo.engines.local import LocalEngine

# As narrow as NF4 weights can be that are joined, and have sums in two parts.
WIDE = {"hidden_size": 256, "intermediate_size": 320, "num_attention_heads": 8, "num_key_value_heads": 2}
# Every token costs the interpreter a tenth of a second: short answers about a chart of four tokens, to a short question
# behind short system messages, that of the template too.
QUESTION, SYSTEM, SIZE = "Bars?", "Read.", (28, 112)
SHORT = Options(max_new_tokens=3, system=SYSTEM)


def elementwise(compute: Any, *args: Any) -> Any:
    """What an instruction does, by numpy, of tensors of the interpreter or numbers; int32."""
    shape = np.broadcast_shapes(*(one.handle.data.shape for one in args if isinstance(one, tl.tensor)))
    data = compute(*(one.handle.data if isinstance(one, tl.tensor) else np.array(one & 0xFFFFFFFF) for one in args))
    data = np.ascontiguousarray(np.broadcast_to(data, shape)).view(np.int32)
    return tl.tensor(TensorHandle(data, tl.int32), tl.block_type(tl.int32, list(shape)))


def bytes_of_two(a: Any, b: Any, chosen: Any) -> Any:
    """`prmt`, PTX ISA 9.7.9.7, generic: four bytes of b and a; the fourth bit of a selector copies a byte's sign."""
    a, b, chosen = (one.astype(np.uint32).astype(np.uint64) for one in (a, b, chosen))
    every, out = a | b << 32, np.uint64(0)
    for n in range(4):
        selector = chosen >> 4 * n & 15
        byte = every >> (selector & 7) * 8 & 255
        out = out | np.where(selector & 8, (byte >> 7) * 255, byte) << 8 * n
    return out.astype(np.uint32)


def halves_of_two(first: Any, second: Any) -> Any:
    """`cvt.rn.f16x2.f32`: the first in the lower half."""
    low, high = (one.astype(np.float16).view(np.uint16).astype(np.uint32) for one in (first, second))
    return high << 16 | low


def found(engine: "LocalEngine", adapter: Path) -> tuple[list[torch.Tensor], list[str]]:
    """Features of a chart, logits of a prompt and of two steps behind it, and answers in an evaluation's batch."""
    from tiny import chart

    engine.use_adapter(str(adapter))
    step, every = started(engine)
    decoder = engine.fast.decoder
    assert decoder is not None
    with torch.inference_mode():
        every += [decoder.next(step, torch.tensor(tokens)).clone() for tokens in ([3, 4, 5], [6, 7, 8])]
    (answers,) = engine.answer_many([(chart(3, SIZE), QUESTION)], engine.arms, SHORT)
    return every, [answer.text for answer in answers]


def started(engine: "LocalEngine") -> tuple["Step", list[torch.Tensor]]:
    """The step behind a prompt; the chart's features and the prompt's logits."""
    from tiny import chart

    engine.looks.clear()
    look, decoder = engine.looks.of([chart(3, SIZE)])[0], engine.fast.decoder
    assert decoder is not None
    prompts = [engine._token_ids(engine.prompt_text(arm, QUESTION, SHORT), look) for arm in engine.arms]
    step, logits = decoder.start(prompts, [look] * 3, Adapted.of(["", "", engine._name]), 8)
    return step, [look.pooled[0], logits]


def stepped(engine: "LocalEngine") -> list[torch.Tensor]:
    """The same, and the logits of a step behind the prompt."""
    step, every = started(engine)
    assert engine.fast.decoder is not None
    with torch.inference_mode():
        return [*every, engine.fast.decoder.next(step, torch.tensor([3, 4, 5])).clone()]


def products_apart() -> float:
    """How far the products of a few rows lie from torch's, of matrices that no block divides; in half precision."""
    torch.manual_seed(0)
    apart = 0.0
    for rows, outputs, inputs in ((1, 70, 200), (3, 320, 1100), (16, 33, 64)):
        x = torch.randn(rows, 1, inputs).half()  # of bfloat16 the interpreter makes wrong products
        weight = torch.randn(2 * outputs + 5, inputs).half()
        parts = products.product(x, weight)
        gate, up = (x.float() @ weight.float().t())[..., : 2 * outputs].split(outputs, dim=-1)
        whole = parts.sum(1, keepdim=True)[..., : 2 * outputs]
        apart = max(apart, ((whole - torch.cat([gate, up], -1)).norm() / whole.norm()).item())
        expected = torch.nn.functional.silu(gate) * up
        gated = products.gated_product(x, weight, outputs)
        assert gated.dtype == torch.float16  # rounded once
        apart = max(apart, 1e-2 * ((gated - expected).norm() / expected.norm()).item())
        total, norm = torch.randn(rows, 1, weight.shape[0]), torch.nn.RMSNorm(weight.shape[0])
        added, normed = passes.add_norm(total.clone(), parts, norm, 1e-6)
        exact = total + parts.sum(1, keepdim=True)
        apart = max(apart, *((a - b).abs().max().item() / 100 for a, b in ((added, exact), (normed, norm(exact)))))
    return apart


def rows_apart() -> float:
    """How far the kernels lie from torch's operations where rows do not lie side by side, as no layer has them."""
    torch.manual_seed(0)
    heads = [torch.randn(3, count, 2, 16).transpose(1, 2) for count in (4, 2, 2)]  # heads apart
    turned = torch.randn(2, 3, 16).transpose(0, 1)  # rows apart, at no one distance
    cos, sin = turned[..., :16], torch.randn(3, 2, 16)
    wide = torch.randn(3, 2, 64)
    keys, slots = [[torch.zeros(3, 2, 5, 16) for _ in range(2)] for _ in range(2)], torch.tensor([0, 2, 4])
    k, v = (torch.randn(3, 2, 1, 16).transpose(1, 2) for _ in range(2))
    passes.store(*keys[0], k, v[..., ::1], slots)
    layers.store(*keys[1], k, v, slots)
    pairs = [
        *zip(passes.rotated(*heads, cos, sin), layers.rotated(*heads, cos, sin), strict=True),
        *zip(*keys, strict=True),
        (passes.gated(wide[..., ::2], turned[..., None].expand(3, 2, 16, 2).flatten(2)),
         layers.gated(wide[..., ::2].clone(), turned[..., None].expand(3, 2, 16, 2).flatten(2))),
        (passes.gated(turned, turned.flip(-1)), layers.gated(turned.clone(), turned.flip(-1))),
    ]  # fmt: skip
    return max((a - b).abs().max().item() for a, b in pairs)


def attention_apart() -> float:
    """How far the tower's attention lies from torch's, of patches that no block divides, in front of rows that would
    spoil them; of widths with a smaller part and without."""
    torch.manual_seed(0)
    apart = 0.0
    for width, count, patches in ((80, 133, 192), (32, 64, 128), (16, 1, 64), (48, 96, 96)):
        x = torch.randn(patches, 3, 2, width)
        x[count:] = float("nan")
        q, k, v = x.unbind(1)
        found = attention.attention(q, k, v, torch.tensor([count], dtype=torch.int32))[:count]
        own = (one[None, :count].transpose(1, 2) for one in (q, k, v))
        expected = torch.nn.functional.scaled_dot_product_attention(*own)[0].transpose(0, 1).flatten(1)
        apart = max(apart, ((found - expected).norm() / expected.norm()).item())
    return apart


def placing_apart() -> float:
    """How far heads that were added up, rotated and written where attention reads them lie from torch's, of one token
    per row and of several, with an adapter's ranks on a row and without; a tower's heads and norms as well."""
    torch.manual_seed(0)
    apart = 0.0
    for rows, length, heads, kv_heads, width, parts, ranks in (
        (3, 1, 6, 2, 16, 2, 5), (3, 1, 3, 1, 20, 4, 0), (2, 5, 7, 2, 16, 1, 0), (2, 4, 4, 1, 20, 1, 0),
    ):  # fmt: skip
        size, slots = (heads + 2 * kv_heads) * width, torch.tensor([0, 4, 2])[:rows]
        source = torch.randn(rows, parts if length == 1 else length, size + 8)
        bias, up = torch.randn(size + 8), torch.randn(ranks, size) if ranks else None
        cos, sin = torch.randn(rows, length, width), torch.randn(rows, length, width)
        caches = [[torch.zeros(rows, kv_heads, 12, width)[:, :, :9] for _ in range(2)] for _ in range(2)]
        told = source, bias, up, (1, 2, 0.5), cos, sin
        found = [one.placed(*told, *held, slots, heads) for one, held in zip((placing, plain), caches, strict=True)]
        pairs = [found, *zip(*caches, strict=True)]
        apart = max(apart, *((a - b).abs().max().item() for a, b in pairs))
    qkv, turns = torch.randn(5, 3, 3, 20), torch.randn(2, 5, 20)
    x, delta, norm = torch.randn(4, 50) + 3, torch.randn(4, 50), torch.nn.LayerNorm(50).requires_grad_(False)
    norm.weight.normal_()
    norm.bias.normal_()
    own = [*plain.turned(qkv, *turns), *plain.added_norm(x, delta, norm)]
    mine = [*placing.turned(qkv.clone(), *turns), *placing.added_norm(x.clone(), delta, norm)]
    return max(apart, *((a - b).abs().max().item() for a, b in zip(mine, own, strict=True)))


def packed(outputs: Sequence[int], inputs: int, bias: bool) -> list[Any]:
    """Random linear layers in NF4, as bitsandbytes makes them."""
    made = []
    for rows in outputs:
        one = Linear4bit(inputs, rows, bias=bias, quant_type="nf4", compute_dtype=torch.float16)
        one.weight.data, one.weight.quant_state = quantize_4bit(torch.randn(rows, inputs).half(), quant_type="nf4",
                                                                compress_statistics=True)  # fmt: skip
        if bias:
            one.bias.data = torch.randn(rows).half()
        made.append(one)
    return made


def in_float32(state: Any) -> Any:
    state = copy(state)
    state.dtype = torch.float32
    return state


def unpacked(part: Any) -> torch.Tensor:
    """Its weights in float32, which bitsandbytes rounds afterwards to the precision it computes in."""
    return dequantize_4bit(part.weight.data, in_float32(part.weight.quant_state))


def values_are_bitsandbytes(outputs: Sequence[int], inputs: int, bias: bool) -> bool:
    """Whether the products of rows that are zero but for a one are weights that bitsandbytes unpacks, before and
    behind joining them."""
    parts = packed(outputs, inputs, bias)
    exact = torch.cat([unpacked(part) for part in parts])
    matrix = nf4.joined(parts)
    assert matrix is not None and torch.equal(torch.cat([unpacked(part) for part in parts]), exact)
    # One column of every word's place among eight, in the first and the last block: the interpreter is slow.
    asked = torch.cat([torch.arange(8), torch.arange(inputs - 8, inputs)])
    ones = torch.eye(inputs).half()[asked][:, None].split(products.NF4_ROWS)
    found = torch.cat([products.nf4_product(some, matrix).sum(1) for some in ones])
    exact = exact.t()[asked].half() + (0.0 if matrix.bias is None else matrix.bias.float())
    return torch.equal(found, exact.to(found.dtype))


Packed = tuple[tuple[int, ...], int, bool]  # outputs of what is joined, inputs, whether there is a bias
VALUES: list[Packed] = [((70,), 320, False), ((256, 64), 128, True), ((256, 32), 256, False)]
PRODUCTS: list[Packed] = [((70,), 320, False), ((64, 70), 256, True), ((70,), 320, True), ((64, 70), 256, False)]


def packed_products_apart(counts: Sequence[int], shapes: Sequence[Packed]) -> float:
    """How far products of so many rows with matrices in NF4 lie from those with what bitsandbytes unpacks; rows of
    five blocks, in more programs than one; ragged, joined, with a bias and without."""
    apart = 0.0
    for outputs, inputs, bias in shapes:
        parts = packed(outputs, inputs, bias)
        matrix = nf4.joined(parts)
        assert matrix is not None
        exact = torch.cat([unpacked(part) for part in parts]).half().double()
        for rows in counts:
            x = torch.randn(rows, 1, inputs).half()
            found, expected = products.nf4_product(x, matrix), x[:, 0].double() @ exact.t()
            expected += 0.0 if matrix.bias is None else matrix.bias.double()
            within = 1.0 if found.dtype == torch.float32 else 1e-2  # a whole sum is rounded to half precision
            apart = max(apart, within * ((found.sum(1) - expected).norm() / expected.norm()).item())
    return apart


def packed_layers_apart() -> float:
    """How far a model's layers in NF4, with an adapter on a row, lie from the same layers unpacked, over their size."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    from bench.parts.random_model import TEXT_TINY, VISION_TINY

    config = Qwen2VLConfig(text_config=TEXT_TINY | WIDE, vision_config=dict(VISION_TINY))
    base: Any = Qwen2VLForConditionalGeneration(config).half()
    base = get_peft_model(
        base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    ).base_model.model
    base = base.half().eval().requires_grad_(False)
    for layer in base.model.language_model.layers:
        for room in (layer.self_attn, layer.mlp):
            for name, module in list(room.named_children()):
                part = getattr(module, "base_layer", module)
                if isinstance(part, torch.nn.Linear):
                    (few,) = packed([part.out_features], part.in_features, False)
                    few.bias, part.weight.data = part.bias, unpacked(few).half()
                    setattr(*((room, name) if part is module else (module, "base_layer")), few)
                    few.plain = part
    mine = layers.Layers(base)
    x, places = torch.randn(3, 1, 256), torch.zeros(3, 3, 1, dtype=torch.long)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return mine(x.clone(), places, Adapted(2, 3, "default"), lambda q, k, v, n: v.repeat(1, 1, 4, 1).flatten(2))

    lost = mine.fuse()
    assert lost == {} and len(mine._packed) == 2 * 4
    found = run()
    for layer in base.model.language_model.layers:
        for room in (layer.self_attn, layer.mlp):
            for name, module in list(room.named_children()):
                part = getattr(module, "base_layer", module)
                if hasattr(part, "plain"):
                    setattr(*((room, name) if part is module else (module, "base_layer")), part.plain)
    expected = run()
    return ((found - expected).norm() / expected.norm()).item()


def whole_engine(base: Path, adapter: Path, another: Path) -> dict[str, Any]:
    """What an engine computes by torch's operations beside what it computes fused, with either adapter and with weights
    that are not joined."""
    from chartqa_demo.engines.local import load_local

    template = base / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("You are a helpful assistant.", "Yes"), "utf-8")
    for folder in (adapter, another):
        Contract(str(base), SYSTEM).save(folder)
    engine = load_local(Settings(base=str(base), adapter=str(adapter), device="cpu", decode="static"))
    plain, answers = found(engine, adapter)
    first = plain[:3]
    engine.use_adapter(str(another))
    plain += stepped(engine)
    mine: Any = engine.fast.layers
    held = sum(weight.numel() for weight in mine.base.parameters())
    assert mine.fuse() == {}
    tower.HOST_BOUND = 0
    engine.fast.tower.fuse()
    changed = stepped(engine)  # the other adapter first, so that each takes the other's place in the joint weights
    fused, fused_answers = found(engine, adapter)
    fused += changed
    riding, joined = sum(joint.adapter is not None for joint in mine._joint.values()), dict(mine._joint)
    mine._joint.clear()  # as with quantised weights, which cannot be joined
    step, loose = started(engine)
    with torch.inference_mode():
        loose.append(engine.fast.decoder.next(step, torch.tensor([3, 4, 5])).clone())
    plain, fused = [*plain, *first], [*fused, *loose]
    return {
        "apart": max((a - b).abs().max().item() for a, b in zip(plain, fused, strict=True)),
        "size": max(a.abs().max().item() for a in plain),
        "plain": answers,
        "fused": fused_answers,
        "joined": len(joined),
        "riding": riding,
        "held": held == sum(weight.numel() for weight in mine.base.parameters()),
        "parts_of_one": all(
            first.weight.untyped_storage().data_ptr() == joint.weight.untyped_storage().data_ptr()
            for first, joint in joined.items()
        ),
        "nf4_is_exact": [values_are_bitsandbytes(*shape) for shape in VALUES],
        "nf4_apart": packed_products_apart(range(1, products.NF4_ROWS + 1), PRODUCTS),
        "nf4_layers_apart": packed_layers_apart(),
    }


def kernels_alone() -> dict[str, Any]:
    """What single kernels compute beside what torch and bitsandbytes do."""
    return {
        "products_apart": products_apart(),
        "rows_apart": rows_apart(),
        "attention_apart": attention_apart(),
        "placing_apart": placing_apart(),
        "best_is_torchs": proofs.best(9000, torch.zeros(1)) is None,  # raises otherwise
        "nf4_is_exact": [values_are_bitsandbytes(*VALUES[0])],
        "nf4_apart": packed_products_apart((3,), PRODUCTS[2:3]),
    }


def main(folders: Sequence[str]) -> None:
    """folders: of a base and two adapters, for the whole engine; none for the kernels alone."""
    # The interpreter knows no instructions of a GPU
    products._prmt = lambda *args: elementwise(bytes_of_two, *args)
    products._pair = lambda first, second, HALF: elementwise(halves_of_two, first, second)
    print(json.dumps(whole_engine(*map(Path, folders)) if folders else kernels_alone()))


if __name__ == "__main__":
    main(sys.argv[1:])
