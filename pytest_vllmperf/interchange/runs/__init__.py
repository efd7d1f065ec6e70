"""Runs, out of the file of `--vllmperf-json`, in the forms of other tools; pure."""
