"""One check, from `check()` to its outcome: recorded or judged, on as many fresh engines as that takes."""
