"""What a run has found, on disk, safe against a crash.

In: items, each a map with its metrics, and the configuration that they were made with.
Out: the same items again, or what a damaged file still holds.
"""
