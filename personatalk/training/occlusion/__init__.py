"""Training of the occluder network."""
