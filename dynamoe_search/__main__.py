"""``python -m dynamoe_search`` is the command line."""

from dynamoe_search.cli import main

if __name__ == "__main__":
    main()
