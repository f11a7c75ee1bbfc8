"""The Compare tab: a chart, a question, three answers. `tab` puts it together and connects it; `charts` and `question`
are what goes in, `cards` the answers, `history` what this visitor asked before, `api` the same question as JSON.

Imports `engines`, `evaluate.rules` and `data`; never torch, never the Evaluate tab.
"""
