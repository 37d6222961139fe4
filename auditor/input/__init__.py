"""The input of a run: lists and patterns become references.

Theory of operation. The input is a stream: a list can have millions of lines, come from
a pipe that never ends, or contain patterns that stand for a whole registry. Nothing is
read far ahead of the workers, and the order of the input is kept.

- `ListReader` (list_reader.py) decodes the bytes of a list. `read_list` (lists.py)
  finds its format in the first line: an item on each line (text, JSON lines, CSV) or
  one document (document_format.py, documents.py: kubernetes.py with
  custom_resources.py, compose.py and dockerfile.py with variables.py, skopeo.py). An
  `InputItem` (input_items.py) is an `InputSelector` or, for a malformed line, a
  `RejectedEntry`.
- `read_cluster` (cluster.py) makes items of the objects of a running cluster
  (cluster_objects.py, kubernetes_api.py).
- `LookAhead` (expand.py) takes the items, which are read in a thread, and starts the
  listings of tag and repository patterns a few ahead of the workers. `ListingCache`
  lets two patterns share a listing.
- `CatalogListing` and `TagListing` (listings.py) select the matching entries with the
  filters of `Selection` (tag_filter.py) and record how a listing ended.
- `expand` (expand.py) returns each reference once (`SeenReferences`), in input order,
  as a `ReferenceEntry`. An entry without a reference is a `RejectedEntry`.

- `open_input` (source_scan.py) reads an input that says who uses a reference twice:
  first to its end, into a `SourceTable` (source_table.py) that the audit asks for the
  sources and labels of each record. One plain list is read once, as it arrives.

In this order: items -> LookAhead -> listings -> expand -> the pool of the audit.
"""
