"""Plain frozen data that travels between the rooms. Nothing here imports a room above it."""
