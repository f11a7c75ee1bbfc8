"""What an answer is worth: `rules` judge it, `statistics` compare arms, `run` asks a split, `record` keeps it on disk,
`predictions` reads and writes the answers of other tools' files, `tables` writes figures for every
reader, `report` the README's block.

`python -m chartqa_demo.evaluate` is `__main__`. May import `data`, `arms` and the protocol of `engines`; rules and
statistics import neither, and nothing here imports gradio or torch.
"""
