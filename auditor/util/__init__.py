"""Helpers without knowledge of registries, used by every other package.

Text and secrets: `text` formats text for people (terminal-safe, sizes, counts,
durations), `secret` holds a password or token that does not print itself and masks
credentials in other sentences, by their form or the secrets of a run by their value,
`time_span` reads `30d` or a date, `terminal` lays out tables for a screen.

Concurrency: `tasks` merges concurrent requests for the same thing, maps a function over
items with bounded concurrency, limits concurrent requests to a host, and calls blocking
functions in threads; `deadline` ends a run on time; `clock` supplies time and
randomness, so that tests control both.

Data: `lru` is a bounded cache, `shard` assigns repositories to the parts of a sharded
run, `atomic_file` replaces files durably, `compressed_file` writes and reads gzip and
Zstandard, `open_files` has the limit of open files, `lazy_regex` compiles a regular
expression when it is first used, `json_schema` describes dataclasses.
"""
