"""Geometry of the face: model, camera, tracking, fitting, refinement."""
