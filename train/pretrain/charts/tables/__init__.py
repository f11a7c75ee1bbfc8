"""What a chart is about: topics, measures, values and how figures are printed."""
