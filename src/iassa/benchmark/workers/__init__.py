"""Processes that make the items of a run, on this machine or on a Ray cluster.

In: tasks, each one image, one method and one seed.
Out: items in any order, and what failed, with its reason.
"""
