"""`python -m auditor`."""

from auditor.cli.start import main

if __name__ == "__main__":
    main()
