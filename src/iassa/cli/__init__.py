"""The command line. No science here.

In: the words of a command. What needs torch is imported inside a command, so that help is quick.
Out: calls of the library, results on stdout, messages on stderr, and an exit status.
"""

from iassa.cli.commands import app, main

__all__ = ["app", "main"]
