"""The rows of the table of options, a file for each subject."""
