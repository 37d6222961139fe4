"""Analyses of report files; nothing here uses the network.

`report_views.open_reports` gives a DuckDB connection (`duckdb_connection`: on disk,
within a memory limit, interruptible) with the lines of reports as SQL views. Everything
else queries it:

- `diff`, `layers` and `find_digest` load what they need into tables and yield results
  as dataclasses with a `kind`, which are also their JSON lines; `diff_text` and
  `layers_text` render them with `text_tables`.
- `manifest_graph` says which manifest needs which others, and `completeness` whether a
  report can answer a question; `cleanup`, `layers`, `unused` and the view `untagged`
  use both.
- `packages` reads SBOM files (`sbom_views`), `stale_bases` what `--check-bases` found,
  and `end_of_life` when the support of images ends.
- `check` evaluates a policy, and `html` makes a page of all of these.
- `query` runs a user's SELECT and prints its rows.
- `export` writes tables to other formats, and `history` adds runs to a data set of
  Parquet files.

Reports are read as a stream and results are iterated; what must be sorted or joined
spills to disk. Text of a report is escaped where it is printed (`text_tables`,
`query`, `csv_lines`, `html.page`).
"""
