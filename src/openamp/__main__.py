"""`python -m openamp` is the `openamp` command."""

from openamp.cli import main

if __name__ == "__main__":
    main()
