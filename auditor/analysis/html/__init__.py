"""`auditor html`: a report as one HTML page to share, which loads nothing.

`page.make_page` reads the report section by section, so that only one section's tables
are in memory, and renders them:

1. `report_lines` loads the report into the table `line` (`ReportLines`) and answers
   totals, failures and warnings; `ReportSource` identifies the files by their digest.
2. `image_sections` (architectures, attachments, ages) and `table_data` (the searchable
   table of references, and what a row opens to) query `ReportLines`.
3. `storage_section` reads the storage of repositories from `analysis.layers`.
4. `optional_sections` runs `analysis.diff` against an earlier report,
   `analysis.check` with a policy, and `analysis.end_of_life`, where there is one.
5. `trend_section` draws the course of the nights; `headline` finds the worst.
6. `page` renders these with Jinja (`assets/page.html.j2`).

Every table is truncated to a fixed number of rows, and the page says where it is. The
page depends on the report, the earlier report, the policy, the nights and the date for
its waivers only: the same input gives the same bytes.
"""
