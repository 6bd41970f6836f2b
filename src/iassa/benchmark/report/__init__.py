"""What a benchmark run shows: tables, plots, pictures, and how well it is known.

`writing` reads the run and writes the files. `comparison` finds what can be compared, `statistics`
says how well it is known, `sections` says it in words; `page`, `figures` and `data_files` write it.
"""

from iassa.benchmark.report.writing import Report, write_report

__all__ = ["Report", "write_report"]
