"""Triton's kernels, in place of torch's own operations on a GPU of one's own or a lent one.

`passes.py` has what lies between the matrix products, `placing.py` queries, keys and values on their way to attention,
`products.py` the products of a decode step, `attention.py` the vision tower's attention, `choice.py` the next tokens;
`proofs.py` compares some with torch's own operations before they are used, `launching.py` has what all need. They
import Triton, and are therefore imported where kernels are asked for only.
"""
