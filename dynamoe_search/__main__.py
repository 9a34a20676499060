"""``python -m dynamoe_search`` is the command line."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder: a random.py there is not for us

    from dynamoe_search.cli import main

    main()
