"""What a run shows: tables, plots, pictures, and how well it is known.

In: the store of a run. `comparison` finds what can be compared, `statistics` how sure it is.
Out: Markdown, one HTML page, CSV files and pictures. `writing` puts them into a folder.
"""

from iassa.benchmark.report.writing import Report, write_report

__all__ = ["Report", "write_report"]
