"""Tiny random models of other vision-language families, with their own processors, built from transformers' configs."""

from pathlib import Path
from typing import Any

import torch
import transformers as tf
import trl
from tiny import SPECIAL, build_tiny, build_tokenizer

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.15,
    "max_position_embeddings": 8192,
}
# The published templates of mllama and Pixtral are not shipped by any package. These do the same with a system message
# beside a picture (mllama refuses it, Pixtral takes a string only and puts it before the last turn, if that is the
# user's) and with an answer (Pixtral takes a string only).
MLLAMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system message with images') }}"
    "{% endif %}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{% for c in m.content %}{% if c.type == 'image' %}<|image|>{% else %}{{ c.text }}{% endif %}{% endfor %}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
PIXTRAL = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}"
    "{% else %}{% set turns = messages %}{% endif %}{{ bos_token }}{% for m in turns %}{% if m.role == 'user' %}"
    "{{ '[INST]' + (system + '\n\n' if loop.last and system is defined else '') }}{% for c in m.content %}"
    "{% if c.type == 'image' %}[IMG]{% else %}{{ c.text }}{% endif %}{% endfor %}[/INST]"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)


def tokens(special: list[str], template: str, **named: str) -> Any:
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    if named:
        tokenizer.add_special_tokens(named)
    tokenizer.chat_template = template
    return tokenizer


def qwen_vl(folder: Path, family: str) -> Path:
    """family: Qwen2_5_VL or Qwen3VL."""
    template = "qwen3_vl.jinja" if family == "Qwen3VL" else "qwen2_5_vl.jinja"
    tokenizer = tokens([], (TEMPLATES / template).read_text(encoding="utf-8"))
    ids = {t: tokenizer.convert_tokens_to_ids(t) for t in SPECIAL}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    text = TEXT | {"vocab_size": len(tokenizer), "rope_parameters": rope, "eos_token_id": ids["<|im_end|>"]}
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "spatial_merge_size": 2, "initializer_range": 0.15}
    if family == "Qwen3VL":
        text["head_dim"] = 16
        text["rope_parameters"] = rope | {"mrope_interleaved": True}
        vision |= {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 64, "patch_size": 16}
        vision |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 256}
    else:
        vision |= {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 64, "patch_size": 14}
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
    config = getattr(tf, f"{family}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    patch = vision["patch_size"]
    size = {"shortest_edge": 4 * (2 * patch) ** 2, "longest_edge": 48 * (2 * patch) ** 2}
    images = tf.Qwen2VLImageProcessor(size=size, patch_size=patch)
    video = tf.Qwen3VLVideoProcessor() if family == "Qwen3VL" else tf.Qwen2VLVideoProcessor()
    processor = getattr(tf, f"{family}Processor")(
        image_processor=images, tokenizer=tokenizer, video_processor=video, chat_template=tokenizer.chat_template
    )
    return save(folder, getattr(tf, f"{family}ForConditionalGeneration"), config, processor)


def mllama(folder: Path) -> Path:
    special = [
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
        "<|image|>",
    ]
    tokenizer = tokens(special, MLLAMA, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    config = tf.MllamaConfig(
        text_config=TEXT
        | {
            "vocab_size": len(tokenizer) - 1,  # mllama's image token lies just behind the vocabulary
            "cross_attention_layers": [1],
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        vision_config={
            "hidden_size": 32,
            "attention_heads": 2,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "intermediate_size": 64,
            "vision_output_dim": 64,
            "intermediate_layers_indices": [0],
            "image_size": 56,
            "patch_size": 14,
            "max_num_tiles": 2,
            "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
            "initializer_range": 0.15,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )
    images = tf.MllamaImageProcessor(size={"height": 56, "width": 56}, max_image_tiles=2)
    processor = tf.MllamaProcessor(images, tokenizer, chat_template=MLLAMA)
    return save(folder, tf.MllamaForConditionalGeneration, config, processor)


def pixtral(folder: Path) -> Path:
    special = ["<s>", "</s>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    tokenizer = tokens(special, PIXTRAL, bos_token="<s>", eos_token="</s>")
    config = tf.LlavaConfig(
        text_config=tf.MistralConfig(
            **TEXT,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            head_dim=16,
            sliding_window=None,
        ),
        vision_config=tf.PixtralVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=112,
            patch_size=16,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("[IMG]"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    images = tf.PixtralImageProcessor(size={"longest_edge": 112}, patch_size={"height": 16, "width": 16})
    processor = tf.PixtralProcessor(image_processor=images, tokenizer=tokenizer, patch_size=16, chat_template=PIXTRAL)
    return save(folder, tf.LlavaForConditionalGeneration, config, processor)


def smolvlm(folder: Path) -> Path:
    grid = [f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)]
    special = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *grid]
    template = (TEMPLATES / "smolvlm.jinja").read_text(encoding="utf-8")
    tokenizer = tokens(special, template, eos_token="<end_of_utterance>")
    config = tf.SmolVLMConfig(
        text_config=tf.LlamaConfig(
            **TEXT, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        ),
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = tf.SmolVLMImageProcessor(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    processor = tf.SmolVLMProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=tf.SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=template,
    )
    return save(folder, tf.SmolVLMForConditionalGeneration, config, processor)


def save(folder: Path, model_class: Any, config: Any, processor: Any) -> Path:
    torch.manual_seed(0)
    model = model_class(config).to(torch.float32)
    ends = [processor.tokenizer.eos_token_id]
    model.generation_config = tf.GenerationConfig(
        pad_token_id=processor.tokenizer.pad_token_id, eos_token_id=ends, do_sample=False
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


BUILDERS = {
    "Qwen2-VL": build_tiny,
    "Qwen2.5-VL": lambda folder: qwen_vl(folder, "Qwen2_5_VL"),
    "Qwen3-VL": lambda folder: qwen_vl(folder, "Qwen3VL"),
    "mllama": mllama,
    "Pixtral": pixtral,
    "SmolVLM": smolvlm,
}
