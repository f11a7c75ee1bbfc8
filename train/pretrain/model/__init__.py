"""The model that is trained: network, tokenizer, checkpoints and the export as a transformers model."""
