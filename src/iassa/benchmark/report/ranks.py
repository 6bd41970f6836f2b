"""Who is ahead under which fill: methods by their symmetric relevance gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.protocol import GAIN_FILLS
from iassa.benchmark.report.comparison import Arm, Mean
from iassa.benchmark.report.markdown import table
from iassa.benchmark.report.tables import number, number_format


def rank_table(means: Sequence[Mean]) -> str:
    """Mean gains with each fill, the ranks of the methods at one number of calls, and mean ranks.

    Args:
        means: of all arms; only gains at the image level count.

    Returns:
        A row for each method at each number of calls at which there are two or more, best mean
        rank first; '' where the run has no gains. Equal means share their mean rank.
    """
    gains = {
        (each.arm, each.metric.removeprefix("gain_")): each.estimate.mean
        for each in means
        if each.level == "image" and each.metric.startswith("gain_")
    }
    fills = [fill for fill in GAIN_FILLS if any(fill == one for _, one in gains)]
    arms = list(dict.fromkeys(arm for arm, _ in gains))
    style = number_format(gains.values())
    rows = []
    for calls in sorted({arm.calls for arm in arms}):
        alike = [arm for arm in arms if arm.calls == calls]
        if len(alike) > 1:
            values = np.array([[gains[arm, fill] for fill in fills] for arm in alike])
            rows += _rows(alike, values, style)
    heads = ["method", "calls"]
    columns = [*(f"SRG {fill} (rank)" for fill in fills), "mean rank \N{DOWNWARDS ARROW}"]
    caption = "Mean SRG with each fill, and the rank among the methods at as many calls"
    return table(caption, heads, columns, rows, folds=False)


def _rows(
    arms: Sequence[Arm], values: NDArray[np.float64], style: str
) -> list[tuple[list[str], list[str]]]:
    """Rows of arms at one number of calls; values (arms, fills)."""
    above = (values[None] > values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)  # itself among them
    ranks = above + (1 + equal) / 2
    means = ranks.mean(axis=1)
    return [
        (
            [arms[k].label, str(arms[k].calls)],
            [
                *(
                    f"{number(value, style)} ({rank:g})"
                    for value, rank in zip(values[k], ranks[k], strict=True)
                ),
                f"{means[k]:.2f}",
            ],
        )
        for k in np.argsort(means, kind="stable")
    ]
