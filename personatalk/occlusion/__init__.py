"""What stands in front of the face."""
