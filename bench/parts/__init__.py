"""What `bench.three_arms` and `bench.train_step` are made of: models of random weights, ways, logits, ceilings."""
