"""Speech encoders and features, voice activity, augmentation, and audio-visual synchrony."""
