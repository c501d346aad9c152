"""The real side of the lab: the local stack, the live pipeline, load and recording."""
