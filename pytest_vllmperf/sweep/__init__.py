"""A space of points, the search through it, and the runner; it uses lab and checking, and never pytest."""
