"""One audit in several shards: by processes of this machine, or by a Dask cluster.

A shard is a part of the repositories, chosen by a hash of their names, so that every
worker finds its own without talking to the others. Each shard is an audit of its own
with a report; the reports are merged in the order of the whole input.

`plan_shards` decides how many shards there are and how many are audited at the same
time, so that all together keep to the limits of each registry. `ShardedRun` runs the
plan (both in sharded_run.py): it lets a `ShardEngine` audit the shards, which is a
`ProcessEngine` (process_engine.py: an `auditor audit --shard` each) or a `DaskEngine`
(dask_engine.py). The reports go into a `ShardDir` (shard_dir.py), a local folder or a
URL. `merge_shards` (merge_shards.py) then writes the one report; it is also the command
`auditor merge`.

A run that is stopped, or has failed shards, keeps the reports of finished shards, and
`--resume` audits the others only.
"""
