"""What makes scores of a model's outputs."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from iassa.errors import BlackBoxError
from iassa.models.black_box import BlackBox
from iassa.models.conventions import Conventions
from iassa.models.outputs import check_count, check_outputs, count_columns


class ActivatedModel(BlackBox):
    """A model whose outputs are turned into scores by its conventions: write `outputs`.

    `score` puts a softmax, a sigmoid or nothing behind them.
    """

    _conventions: Conventions

    @abstractmethod
    def outputs(self, planes: Tensor) -> Tensor:
        """Outputs (N, K) of planes (N, 3, H, W) in [0, 1], before the activation."""

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `BlackBox.score`.

        Raises:
            BlackBoxError: a softmax of one output.
        """
        return self._activate(self.outputs(planes), len(planes))

    def score_whole(self, planes: Tensor) -> Tensor:
        """See `BlackBox.score_whole`; `check_outputs` looks at the outputs."""
        if type(self).score is not ActivatedModel.score:  # it makes scores in a way of its own
            return self.score(planes)
        outputs = self.outputs(planes)
        check_outputs(outputs, self._conventions, self.name)
        return self._activate(outputs, len(planes))

    def _activate(self, outputs: Tensor, images: int) -> Tensor:
        check_count(count_columns(outputs, images), self._conventions, self.name, BlackBoxError)
        return self._conventions.activate(outputs)
