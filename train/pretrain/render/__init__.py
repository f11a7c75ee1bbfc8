"""Given tables drawn as published charts, with the questions that people asked about them: rows to train an adapter on.

    python -m train.pretrain.render TABLES.jsonl OUT --without CHARTQA --hold 12

The questions were asked about other pictures of the same tables, so one that the drawing may contradict (a colour, a
place, a kind of mark) is left out, and so is every table that a held-out question asks about. For an adapter's
training only, never for measuring against published figures; the base never sees these rows.
"""
