"""Triton's kernels, in place of torch's own operations on a GPU of one's own or a lent one.

`passes.py` has what lies between the matrix products, `products.py` the products of a decode step; `launching.py` what
all kernels need. Imports Triton, and is therefore imported where kernels are asked for only.
"""
