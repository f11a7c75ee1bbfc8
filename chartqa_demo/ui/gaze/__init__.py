"""Where each arm looked for its answer: the chart with the model's own attention over it, on request."""
