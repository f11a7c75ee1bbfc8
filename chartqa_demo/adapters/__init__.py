"""What an adapter is: its contract, every check of it, and the runs that trained it.

`lora.py` is the list of what is served, `check.py` finds, checks and fetches an adapter, `load.py` puts it on a model;
nobody else decides whether it fits. Imports `space.hub` to fetch, and torch only in `load.py`.
"""
