"""ChartQA side by side: one chart, one question, three answers of one base model."""
