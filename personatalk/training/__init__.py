"""Training of the face model and of both stages."""
