"""Names and headlines: word lists, coined names, titles and notes."""
