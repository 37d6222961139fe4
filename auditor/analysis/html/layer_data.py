"""The manifests and layers of the references in the page's table, as JSON.

    {"layers": [[DIGEST, SIZE]...], "manifests": [[PLATFORM, DIGEST, SIZE, DATE,
     [LAYER...]]...], "images": {"POSITION": [MANIFEST...]}}

`LAYER` and `MANIFEST` are indexes into the lists before: layers that images share, and
manifests that tags share, are stored once. `POSITION` is the row in the table of
references. Sizes are null where unknown, layers are null where they were left out of
the record. References that do not fit are missing from `images`.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from typing import Any

from auditor.analysis.html.reference_data import SHOWN, Index, shown_text
from auditor.analysis.html.report_lines import ReportLines
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.reports import creation_time

# With `reference_data.MAX_DATA_BYTES` the page stays below 5 MB.
MAX_LAYER_BYTES = 1_300_000
# Its position and the numbers of its manifests.
_BYTES_OF_AN_IMAGE = 40

_MANIFESTS = f"""
    WITH shown AS (
        SELECT reference, row_number() OVER () - 1 AS position FROM ({SHOWN})),
    one AS (
        SELECT position, p.digest AS digest, p.size AS size, p.layers AS layers,
               nullif({platform_name("p")}, '') AS platform,
               strftime({creation_time("p")}, '%Y-%m-%d') AS created
        FROM (SELECT position, annotations, unnest(platforms) AS p
              FROM (SELECT position, annotations, platforms
                    FROM report.lines JOIN shown USING (reference)
                    WHERE kind = 'image'
                    QUALIFY row_number() OVER
                      (PARTITION BY reference ORDER BY audited_at DESC) = 1)))
    SELECT * FROM one ORDER BY position"""


def read_layers(lines: ReportLines, rows: int) -> dict[str, Any]:
    """The manifests and layers of the first `rows` references of the table."""
    layers, manifests = Index(), Index()
    images: dict[str, list[int]] = {}
    kept = 0, 0
    for line in lines.rows(_MANIFESTS.format(limit=rows)):
        position = str(line.position)
        manifest = (
            shown_text(line.platform or ""),
            shown_text(line.digest or ""),
            line.size,
            line.created,
            None if line.layers is None else tuple(
                layers.number((shown_text(layer["digest"]), layer["size"]))
                for layer in line.layers
            ),
        )  # fmt: skip
        images.setdefault(position, []).append(manifests.number(manifest))
        used = layers.size + manifests.size + _BYTES_OF_AN_IMAGE * len(images)
        if used > MAX_LAYER_BYTES:
            del images[position]  # all of its manifests or none
            break
        kept = len(layers.numbers), len(manifests.numbers)
    return {
        "layers": list(layers.numbers)[: kept[0]],
        "manifests": list(manifests.numbers)[: kept[1]],
        "images": images,
    }
