"""The command line. No science here.

In: the words of a command. A command is imported when it is called: most import torch.
Out: calls of the library, results on stdout, messages on stderr, and an exit status.
"""

from iassa.cli.commands import COMMANDS, import_command, main

__all__ = ["COMMANDS", "import_command", "main"]
