"""`python -m iassa`: the command line."""

from iassa.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
