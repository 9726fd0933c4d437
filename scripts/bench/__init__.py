"""How fast the hot spots are, beside the programs that do the same: see `__main__`."""
