"""Results over time: a database of runs, where the levels in it changed, and what came with each change."""
