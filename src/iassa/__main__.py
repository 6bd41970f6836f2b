"""The entry of the command line, which is there before torch is.

Two seconds go by while torch is imported. Ctrl-C in them ends as it does later.
"""

import gc
import sys


def main() -> None:
    """Run the command line and exit."""
    # Nothing of what is imported is garbage. Not to look for it, now and at the end, saves a
    # quarter of the time that a command takes which has nothing else to do.
    gc.disable()
    try:
        from iassa import cli

        cli.import_command(sys.argv[1:])
    except KeyboardInterrupt:
        print("error: interrupted; nothing was done yet.", file=sys.stderr)
        sys.exit(130)
    gc.freeze()
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
