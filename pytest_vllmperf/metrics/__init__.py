"""Metrics, each one declaration: what it is, how it is judged, and what computes it. `table` has them all."""
