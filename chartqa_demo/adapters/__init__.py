"""What an adapter is: its contract, every check of it, and the runs that trained it.

Imports `space.hub` to fetch, and torch only where weights are compared.
"""
