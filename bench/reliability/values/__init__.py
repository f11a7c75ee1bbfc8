"""Impossible values: numbers, files, data, adapters and surroundings that no command can do anything with."""
