"""What all messages share."""

from __future__ import annotations

import pytest

from iassa.errors import list_choices, list_some


@pytest.mark.parametrize(
    ("count", "listed"),
    [
        (0, "none"),
        (1, "n0"),
        (3, "n0, n1, n2"),
        (4, "n0, n1, n2 and 1 more"),
        (26_714, "n0, n1, n2 and 26711 more"),
    ],
)
def test_three_names_stand_for_all(count: int, listed: str) -> None:
    assert list_some(f"n{number}" for number in range(count)) == listed


def test_of_choices_a_dozen_is_shown() -> None:
    assert list_choices(range(12), "; ") == "; ".join(map(str, range(12)))
    assert list_choices(range(1000)) == f"{', '.join(map(str, range(12)))} and 988 more"
