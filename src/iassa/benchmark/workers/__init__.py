"""Processes that perform the tasks of a run, on this machine or on a Ray cluster.

In: tasks, such as one image with one method and one seed.
Out: their results or failures, in the order in which they end.
"""
