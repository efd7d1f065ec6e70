"""Engines: the `Engine` protocol (`base`) and what implements it."""
