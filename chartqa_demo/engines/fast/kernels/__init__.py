"""Triton's kernels, in place of torch's own operations on a GPU of one's own or a lent one.

`passes.py` has what lies between the matrix products, `products.py` the products of a decode step, `attention.py` the
vision tower's attention; `launching.py` what all kernels need. They import Triton, and are therefore imported where
kernels are asked for only.
"""
