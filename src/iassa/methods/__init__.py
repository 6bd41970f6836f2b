"""The methods, by the names that the command line and the benchmark know."""

from __future__ import annotations

from iassa.loop import Method
from iassa.methods.iassa import Iassa
from iassa.methods.iassa_paper import IassaPaper
from iassa.methods.rise import Rise

__all__ = ["METHODS", "Iassa", "IassaPaper", "Rise"]

METHODS: dict[str, type[Method]] = {method.name: method for method in (Iassa, IassaPaper, Rise)}
