"""Charts with questions and gold answers as `Example`s: `splits` opens them, `folders` reads one's own in whatever
layout, `stored` what `datasets` reads, `cells` knows columns and texts, `names` says what they are called.
`open_split` is the one door: another kind of source is one more function behind it that returns a `Split`.

Imports settings and images, and the Hub's client of `space` where a data set lies on the Hub; no torch, no gradio.
"""
