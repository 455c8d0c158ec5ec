"""Speech features, voice activity, and synchrony of sound and mouth."""
