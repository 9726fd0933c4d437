"""The library: arrays in, arrays out."""

__version__ = "0.1.0"
"""The project's version; packaging reads it here."""
