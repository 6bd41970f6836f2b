"""The loop that all methods share, and what it counts, checks and concludes.

In: a method, a question (image, black box, targets) and a budget.
Out: an explanation after every round, until the budget or the method ends the run.
"""
