"""The report: record lines in a file that is locked, crash-safe and resumable.

Theory of operation. `open_report` (writer.py) locks `OUT.journal` (locked_journal.py),
sets an unfinished report aside or reads it into a `ResumeIndex` (resume.py,
resume_index.py), and yields a `Report`. For each record the audit calls `Report.write`:
an encoder (shapes.py) turns it into lines, and `ReportWriter` appends them to
`OUT.partial`. Every second `Report.checkpoint` makes the lines durable and adds records
that are finished but wait for their turn to the `Journal`. `Report.commit` sorts the
records of a resumed report into input order, compresses one named `.gz` or `.zst`,
renames the partial file to `OUT`, and removes the journal. After a crash the partial
file and the journal hold every record up to the last second. `resumed_values`
(resume.py) finds the report to continue if its name has placeholders.

`Tally` (summary.py) counts records, `Listings` (listing_stats.py) counts listings.
`Summary` joins them; its JSON form is written to a file, printed (summary_text.py) and
exported as metrics (metrics.py).

A sharded audit leaves one report per shard with a `ShardFile` (shard_file.py) next to
it; `merge_records` merges the reports, and `merge_summaries` their summaries.

This package reads no settings and knows no registry: values are passed in.
"""
