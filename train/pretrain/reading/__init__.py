"""What the bundled model reads (`python -m bench.reading`): asked through the app's own engine, counted, against bars.

The only room of `train.pretrain` that imports the app's data, engines and evaluation.
"""
