"""Models of the right shapes with random weights: speed and memory depend on shapes, not on what was learned.

Nothing is downloaded: the sizes of Qwen2-VL-7B-Instruct are written out here, and the bundled model's tokenizer stands
in for its own, whose ids are among the 152,064. Image tokens are counted by the real image processor with the 7B
repository's limits, so a chart of 800 x 557 pixels has its 580.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import AutoProcessor, GenerationConfig, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from chartqa_demo.settings import BUNDLED_BASE

TEXT_7B = {
    "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}  # fmt: skip
VISION_7B = {
    "depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3, "hidden_act": "quick_gelu",
}  # fmt: skip
LIMITS_7B = {"shortest_edge": 4 * 784, "longest_edge": 16384 * 784}
# The same in miniature, to see a bench run from end to end on any machine.
TEXT_TINY = TEXT_7B | {
    "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
}  # fmt: skip
VISION_TINY = VISION_7B | {"depth": 2, "embed_dim": 64, "hidden_size": 128, "num_heads": 2}
SIZES = {"7b": (TEXT_7B, VISION_7B), "tiny": (TEXT_TINY, VISION_TINY)}


def build(size: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """A Qwen2-VL of this size ("7b" or "tiny") with random weights, made on the device, and its processor."""
    processor = AutoProcessor.from_pretrained(BUNDLED_BASE)
    processor.image_processor.size = dict(LIMITS_7B)
    processor.tokenizer.padding_side = "left"
    text, vision = SIZES[size]
    ids = processor.tokenizer.convert_tokens_to_ids
    ends = {"bos_token_id": 0, "pad_token_id": 0, "eos_token_id": processor.tokenizer.eos_token_id}
    config = Qwen2VLConfig(
        text_config=text | ends,
        vision_config=dict(vision),
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model: Any = Qwen2VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=processor.tokenizer.eos_token_id)
    return model.eval(), processor


def save_adapter(model: Any, folder: Path, rank: int = 8) -> Path:
    """A LoRA adapter on q and v with random matrices, B's too, so that it changes the answers."""
    folder.mkdir(parents=True, exist_ok=True)
    LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", inference_mode=True
    ).save_pretrained(str(folder))
    torch.manual_seed(1)
    weights = {}
    for number, layer in enumerate(model.model.language_model.layers):
        for name in ("q_proj", "v_proj"):
            linear = getattr(layer.self_attn, name)
            linear = getattr(linear, "base_layer", linear)
            place = f"base_model.model.model.language_model.layers.{number}.self_attn.{name}"
            weights[f"{place}.lora_A.weight"] = torch.randn(rank, linear.in_features) * linear.in_features**-0.5
            weights[f"{place}.lora_B.weight"] = torch.randn(linear.out_features, rank) * 0.05
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder
