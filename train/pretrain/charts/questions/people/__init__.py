"""Questions worded as people put them to charts."""
