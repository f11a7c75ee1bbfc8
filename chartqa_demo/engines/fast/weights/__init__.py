"""Weights as the layers read them: several that read the same input as one matrix, in half precision or in NF4."""
