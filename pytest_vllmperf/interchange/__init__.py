"""Reports of other benchmarks as measurements, and ours in their form: pure functions between texts and records.

A format stands in one module and in one row of `formats.FORMATS`.
"""
