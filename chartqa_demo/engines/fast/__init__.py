"""Qwen2-VL written out: layers and tower, the static cache and its steps, kernels and graphs, charts already seen.

Imports torch and the protocol of `engines`; what it computes equals transformers' own `generate`.
"""
