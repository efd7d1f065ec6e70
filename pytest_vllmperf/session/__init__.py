"""What lives as long as a run: engines (`pool`), devices (`leases`), measuring (`perf`), results (`results`)."""
