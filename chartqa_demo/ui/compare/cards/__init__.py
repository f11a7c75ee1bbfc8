"""The answers on the Compare tab: `answers` is a card's HTML, `winner` who is right in one sentence.

Imports the rest of `compare`, but never its tab.
"""
