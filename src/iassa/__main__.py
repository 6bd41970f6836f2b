"""`python -m iassa`: the command line."""

from iassa.cli import main

if __name__ == "__main__":
    main()
