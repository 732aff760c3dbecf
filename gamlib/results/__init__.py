"""Results of runs: how one is written and read, summaries over seeds, tables, and the recorded ones of the course."""

from gamlib.results.charts import draw_curves, draw_errors
from gamlib.results.provenance import commit, versions
from gamlib.results.recorded import list_recorded, load
from gamlib.results.schema import SOLVED, Result, describe, digest, digest_of, read, save
from gamlib.results.summary import Summary, groups, paired_difference, summarise
from gamlib.results.tables import differences, markdown, puzzle_task, table

__all__ = [
    "SOLVED",
    "Result",
    "Summary",
    "commit",
    "describe",
    "differences",
    "digest",
    "digest_of",
    "draw_curves",
    "draw_errors",
    "groups",
    "list_recorded",
    "load",
    "markdown",
    "paired_difference",
    "puzzle_task",
    "read",
    "save",
    "summarise",
    "table",
    "versions",
]
