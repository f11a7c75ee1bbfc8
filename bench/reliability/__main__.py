"""`python -m bench.reliability`: write docs/reliability.md from what the campaigns found."""

import argparse

from bench.reliability import PAGE, page

if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.reliability", description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
