"""How far an answer can be trusted: what was measured of a model's weights, kept in files beside them."""
