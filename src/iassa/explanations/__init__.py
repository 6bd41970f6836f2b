"""The result, as data that can be plotted and saved.

In: maps, their errors, and the evidence: which masks were scored, and their scores.
Out: an `Explanation`, its pictures, and the files that it is saved in and loaded from.
"""
