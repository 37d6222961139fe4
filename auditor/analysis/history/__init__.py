"""Nightly reports, kept: a data set of Parquet files, partitioned by date."""
