"""Strings out of results. Computes nothing, prints nothing; the one place where units are converted."""
