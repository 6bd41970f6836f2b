from .adapt import Adapted, adapt_features
from .judging import Judgement
from .training import Adaptation, Step

__all__ = ["Adaptation", "Adapted", "Judgement", "Step", "adapt_features"]
