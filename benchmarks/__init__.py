"""One file per claim of speed; README.md holds the results."""
