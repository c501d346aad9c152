"""What decides something slowly about a plant, simulated or live."""
