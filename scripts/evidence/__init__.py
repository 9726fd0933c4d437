"""The study of what each part of the method is worth; see `python -m scripts.evidence --help`."""
