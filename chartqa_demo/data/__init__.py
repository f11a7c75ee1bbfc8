"""The splits and their examples: ChartQA, the bundled charts, folders of one's own.

Imports the package's own files (settings, arms, images) only; no torch, no gradio.
"""
