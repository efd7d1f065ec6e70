"""Versioned files: baselines and scorecards, each written whole or not at all."""
