"""What iassa raises: one family of errors, each a sentence with expected, got and what to do."""

from __future__ import annotations

import difflib
import os
import re
import reprlib
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path

MOST_NAMES = 3  # in one message
LONGEST = 200  # letters of one value
LONGEST_REASON = 500  # letters of what another library says
JOINERS = "\u200c\u200d"  # in Persian words and in emoji; they turn no direction
LIKE_A_WORD = 0.8  # of 1, difflib's measure; below, other words are meant
MOST_CHOICES = 12  # that the user may choose from


class IassaError(Exception):
    """Every error that iassa raises on purpose."""


class InputError(IassaError, ValueError):
    """A value that came in from the user cannot be used: a file, an image, a target, an option."""


class BlackBoxError(IassaError, RuntimeError):
    """The black box raised, or returned scores that cannot be used.

    Attributes:
        images: how many images the call that failed was about.
    """

    images: int = 0


class CancelledError(IassaError):
    """The run was cancelled before enough masks were scored to make a map."""


class WeakEvidenceWarning(UserWarning):
    """The explanation is valid but says little: flat or saturated scores, too few masks."""


class ImageWarning(UserWarning):
    """An image was read in a way that may not be what its file means."""


class TrainingModeWarning(UserWarning):
    """A torch module was handed over in training mode; it is run in eval mode all the same."""


class ConventionWarning(UserWarning):
    """The outputs of a model do not look as if they were what its conventions take them for."""


def require(holds: object, text: str, error: type[IassaError] = InputError) -> None:
    """Refuse what cannot be used.

    Args:
        holds: true if it can be used.
        text: what was expected, what was got and what to do.
        error: its kind; an `InputError` for a value of the user's.

    Raises:
        IassaError: of that kind, if it does not hold.
    """
    if not holds:
        raise error(text)


def list_some(names: Iterable[object], separator: str = ", ", most: int = MOST_NAMES) -> str:
    """The first names of a list, for a message, and how many more there are.

    A message lists what it found in the user's files or arguments in this way: it may be thousands.

    Args:
        names: in the order that helps most.
        separator: between two of them.
        most: how many are shown.

    Example:
        >>> list_some(["a.png", "b.png"]), list_some(range(300)), list_some([])
        ('a.png, b.png', '0, 1, 2 and 297 more', 'none')
    """
    texts = [shorten(str(name)) for name in names]
    more = len(texts) - most
    return (separator.join(texts[:most]) or "none") + (f" and {more} more" if more > 0 else "")


def shorten(text: str, length: int = LONGEST) -> str:
    """One line of at most so many letters; the middle gives way, as both ends often matter.

    Example:
        >>> shorten("tabby + tiger cat + Egyptian cat: 0.5", 20)
        'tabby +  … cat: 0.5'
    """
    line = " ".join(text.split())
    half = (length - 3) // 2
    return line if len(line) <= length else f"{line[:half]} … {line[-half:]}"


def reason_of(text: object) -> str:
    """What another library says, on one line of bounded length, without its full stop.

    A name in a file, which it repeats, may have a million letters.
    """
    return shorten(str(text), LONGEST_REASON).rstrip(".")


def show(value: object) -> str:
    """A value of the user's, for a message: its `repr` on one line, only the ends of a long one."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = LONGEST
    try:
        return " ".join(short.repr(value).split())
    except ValueError:  # Python prints no numbers of thousands of digits
        return "a huge number"


def counted(number: int, noun: str) -> str:
    """'1 image', '2 images'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def suggest(text: str, names: Iterable[str]) -> str:
    """What a name that is none may have meant, to stand behind it in a message; '' for nothing.

    Names that hold it come first, the shortest of them, then those with a word like it, then those
    that are like it as a whole.

    Example:
        >>> suggest("cat", ["egyptian cat", "tiger cat"]), suggest("labradr", ["labrador, dog"])
        (' (nearest: tiger cat, egyptian cat)', ' (nearest: labrador, dog)')
    """
    wanted, known = text.strip().casefold(), {name.casefold(): name for name in names}
    holding = [name for name in known if wanted and re.search(rf"\b{re.escape(wanted)}", name)]
    by_word = {word: name for name in known for word in re.findall(r"\w+", name)}
    words = difflib.get_close_matches(wanted, by_word, n=MOST_NAMES, cutoff=LIKE_A_WORD)
    like = difflib.get_close_matches(wanted, known, n=MOST_NAMES)
    found = [*sorted(holding, key=len), *(by_word[word] for word in words), *like]
    near = dict.fromkeys(known[name] for name in found)
    return f" (nearest: {', '.join(map(shorten, [*near][:MOST_NAMES]))})" if near else ""


def plain(text: str) -> str:
    r"""A text on one line that does no more than show, for a terminal, a page or a picture.

    Names of classes, models and files, and answers of servers come from outside. What is in them
    may clear a screen, or turn the direction of what follows. It is written out.

    Example:
        >>> print(plain("\x1b[2Jcat\u202egnp.\ndog"))
        \x1b[2Jcat\u202egnp. dog
    """
    return text if text.isprintable() else "".join(map(_write_out, text))


def _write_out(letter: str) -> str:
    if letter.isprintable() or letter in JOINERS:
        return letter
    return " " if letter.isspace() else letter.encode("unicode_escape").decode()


def list_choices(names: Iterable[object], separator: str = ", ") -> str:
    """As `list_some`, of what the user is to choose from: a dozen."""
    return list_some(names, separator, MOST_CHOICES)


def describe_error(error: BaseException) -> str:
    """Kind and text of what a user's code raised, and the line of theirs that it came from.

    Code in the standard library and in installed packages is not the user's.
    """
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [str(Path(__file__).parent), *map(sysconfig.get_path, kinds)]
    others = [f"{folder}{os.sep}" for folder in folders]
    theirs = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
        # The constructor of a dataclass of ours has no file, only a module.
        ours = file.startswith((*others, "<frozen")) or module.startswith(f"{__package__}.")
        if not ours and "site-packages" not in file:
            theirs = f" ({file}, line {line})"
    return ": ".join(filter(None, [type(error).__name__, str(error).rstrip(".")])) + theirs


def warn(text: str, kind: type[Warning]) -> None:
    """Warn at the line of the user's that called us, however deep inside of us we are.

    Args:
        text: of the warning.
        kind: of warning.
    """
    folder = os.path.dirname(__file__)  # noqa: PTH120 - a comparison of texts, once a frame
    frame, level = sys._getframe(), 1
    inside = (folder, "<string>")  # which is the constructor of a dataclass
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, kind, stacklevel=level)
