from .attention_branch import Attended, AttentionBranch
from .counterexamples import Counterexamples
from .right_reasons import right_reasons

__all__ = [
    "Attended",
    "AttentionBranch",
    "Counterexamples",
    "right_reasons",
]
