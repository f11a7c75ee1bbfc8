"""The trained weights as a plain transformers model: config, tokenizer, processor and safetensors in one folder."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from train.pretrain.layout import CANVASES, PATCH, PIXELS
from train.pretrain.model.network import Sizes, shapes
from train.pretrain.model.tokenizer import CHAT_TEMPLATE, SPECIAL


def config(sizes: Sizes, progress: dict[str, Any] | None = None) -> Qwen2VLConfig:
    """The model's config. Its extra key `chart_canvases` lists the (width, height) of the canvases it reads: charts
    have to be letterboxed on one of them (`chartqa_demo.images.fit_canvas`) before the processor. `pretraining` says
    how far it was trained, so that training can go on from the exported model."""
    special = {token: index for index, token in enumerate(SPECIAL)}
    return Qwen2VLConfig(
        text_config={
            "vocab_size": sizes.vocabulary,
            "hidden_size": sizes.text_width,
            "intermediate_size": sizes.text_ffn,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.key_heads,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": sizes.rope_theta,
                "mrope_section": list(sizes.mrope_sections),
            },
            "bos_token_id": special["<|endoftext|>"],
            "eos_token_id": special["<|im_end|>"],
            "pad_token_id": special["<|endoftext|>"],
        },
        vision_config={
            "depth": sizes.vision_layers,
            "embed_dim": sizes.vision_width,
            "hidden_size": sizes.text_width,
            "num_heads": sizes.vision_heads,
            "mlp_ratio": 4,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=special["<|image_pad|>"],
        video_token_id=special["<|video_pad|>"],
        vision_start_token_id=special["<|vision_start|>"],
        vision_end_token_id=special["<|vision_end|>"],
        tie_word_embeddings=True,
        chart_canvases=[list(size) for size in CANVASES],  # pyright: ignore[reportCallIssue]
        pretraining=progress or {},  # pyright: ignore[reportCallIssue]
    )


def sizes_of(folder: Path) -> Sizes:
    """The sizes of an exported model."""
    facts: Any = Qwen2VLConfig.from_pretrained(folder)
    text, vision = facts.text_config, facts.vision_config
    return Sizes(
        vocabulary=text.vocab_size,
        text_width=text.hidden_size,
        text_layers=text.num_hidden_layers,
        text_ffn=text.intermediate_size,
        key_heads=text.num_key_value_heads,
        vision_width=vision.embed_dim,
        vision_layers=vision.depth,
        rope_theta=text.rope_parameters["rope_theta"],
        mrope_sections=tuple(text.rope_parameters["mrope_section"]),
    )


def to_transformers(
    sizes: Sizes, tensors: dict[str, Tensor], progress: dict[str, Any] | None = None
) -> Qwen2VLForConditionalGeneration:
    """A float32 transformers model with these weights. Raises ValueError where a weight is missing."""
    model = Qwen2VLForConditionalGeneration(config(sizes, progress))
    weights = {name: tensors[name].detach().float().cpu() for name in shapes(sizes) if name in tensors}
    result = model.load_state_dict(weights, strict=False)
    missing = set(result.missing_keys) - {"lm_head.weight"}
    if missing:
        raise ValueError(f"The checkpoint lacks {len(missing)} weights, {sorted(missing)[0]} first: train it anew.")
    model.tie_weights()
    return model.eval()


def processor(tokenizer: Tokenizer) -> Qwen2VLProcessor:
    """The processor of the exported model: Qwen2's tokenizer class with our pieces, a fixed number of pixels."""
    pieces = json.loads(tokenizer.to_str())["model"]
    wrapped = Qwen2Tokenizer(
        vocab=pieces["vocab"],
        merges=[tuple(merge) for merge in pieces["merges"]],  # pyright: ignore[reportArgumentType]
        unk_token=None,  # pyright: ignore[reportArgumentType]
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
    )
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=PIXELS, max_pixels=PIXELS),
        tokenizer=wrapped,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE.read_text(encoding="utf-8"),
    )


def export(
    folder: Path,
    sizes: Sizes,
    tensors: dict[str, Tensor],
    tokenizer: Tokenizer,
    progress: dict[str, Any] | None = None,
) -> None:
    """Write a folder that `AutoModelForImageTextToText` and `AutoProcessor` load: bfloat16, greedy by default."""
    model = to_transformers(sizes, tensors, progress).to(torch.bfloat16)  # pyright: ignore[reportArgumentType]
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=SPECIAL.index("<|im_end|>"), pad_token_id=SPECIAL.index("<|endoftext|>")
    )
    model.save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)


def from_export(folder: Path) -> tuple[Sizes, dict[str, Tensor], dict[str, Any], Tokenizer]:
    """Sizes, weights, progress and tokenizer of an exported model, to train on from it. Raises ValueError."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"There is no exported model in {folder}: config.json is missing.")
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    sizes = sizes_of(folder)
    weights = {name: value for name, value in model.state_dict().items() if name in shapes(sizes)}
    progress = getattr(model.config, "pretraining", {})
    return sizes, weights, progress, Tokenizer.from_file(str(folder / "tokenizer.json"))
