"""Charts with questions and gold answers: `splits` reads ChartQA, the bundled charts and folders as `Example`s,
`names` says what they are called. `open_split` is the one door: another kind of source is one more function behind it
that returns a `Split`.

Imports settings and images, and the Hub's client of `space` where a data set lies on the Hub; no torch, no gradio.
"""
