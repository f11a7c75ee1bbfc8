"""A finished adapter: measured by the app's own engine (`scoring`), described (`card`), pushed to the Hub (`push`);
`curve` sets several beside each other.

May import the app's rooms below `ui` and `train`'s data; nothing here trains.
"""
