"""What an answer is worth: the rules, the statistics, the record on disk, the run over a split, the report.

`python -m chartqa_demo.evaluate` runs it. Imports `data` and the protocol of `engines`; rules and statistics import
neither, and nothing here imports gradio or torch.
"""
