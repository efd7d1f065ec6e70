"""A space of points and the search through it: the limits of a card or a machine, and sweeps."""
