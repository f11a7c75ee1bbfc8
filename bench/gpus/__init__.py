"""Training and answering on two GPUs: what sharding saves, what data parallel gains, what is in the files."""
