"""`python -m bench.reliability`: write docs/reliability.md from what the campaigns found."""

from bench.reliability import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
