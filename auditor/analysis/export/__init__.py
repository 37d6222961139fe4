"""Reports as tables for other programs: CSV, Parquet, DuckDB, SQLite."""
