"""The Training tab: the curves of training runs on this machine, and their finished adapters, ready to be used.

Imports `adapters` and the engines' interface; never torch, never `train`: a run is read from what it leaves on disk.
"""
