"""Questions about a drawn chart and their answers."""
