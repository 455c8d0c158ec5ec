"""Who is seen in a video: shots, faces followed through them, told apart by identity."""

import personatalk.opencv  # noqa: F401 (says what to install where OpenCV cannot be loaded)
