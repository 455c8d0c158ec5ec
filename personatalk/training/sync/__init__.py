"""Training of the sync networks, and measuring a corpus with them."""
