"""Two engines against each other: how they share a device, turns, claims, quality, and scorecards."""
