"""What an adapter is: its contract, every check of it, and the runs that trained it.

`check.py` finds, checks and fetches it, `load.py` puts it on a model and compares every weight; nobody else decides
whether it fits. Imports `space.hub` to fetch, and torch only in `load.py`.
"""
