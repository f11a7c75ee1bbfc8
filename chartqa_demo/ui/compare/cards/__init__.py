"""The answers on the Compare tab: `column` puts the cards together, `answers` is their HTML, `differences` marks what
an answer alone says, `winner` tells who is right in one sentence, `guess` hides who said what until the visitor has.

Imports the rest of `compare`, but never its tab.
"""
