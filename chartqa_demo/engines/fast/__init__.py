"""Qwen2-VL written out. `qwen2_vl.py` is the way in; behind it layers and tower, caches and steps, kernels and graphs.

Imports torch, and of `engines` the protocol, looks, loading and internals. What it computes equals transformers' own
`generate`. Graphs stand apart from the kernels, because they can be captured where there is no Triton.
"""
