"""Training of the sync networks, and what they say of the corpus."""
