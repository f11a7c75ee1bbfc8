"""A leg of training: rows from charts, losses, optimiser, several GPUs, and everything in miniature."""
