"""The Evaluate tab: choices, scores, disagreements, and the files it offers.

Imports `evaluate` and `data`, never torch.
"""
