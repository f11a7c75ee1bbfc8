"""What the model writes by itself about charts that it never saw, counted, and the model card's tables."""
