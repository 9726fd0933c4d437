"""Things that stand in a street; every function adds one of them to a `Builder` at a `Frame`."""
