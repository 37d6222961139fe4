"""Scripts of the documentation: run by `make docs` and by tests; not in the wheel."""
