"""Loads OpenCV before any module that uses it, so that a machine without its libraries is told what to install."""

from __future__ import annotations

from personatalk.errors import AdapterError

DEBIAN_PACKAGES = ("libgl1", "libegl1", "libgles2", "libglib2.0-0", "libxext6", "libsm6")  # as in packages.txt

try:
    import cv2  # noqa: F401
except ModuleNotFoundError as error:
    raise AdapterError(f"{error.name} is not installed: pip install opencv-contrib-python") from error
except ImportError as error:
    raise AdapterError(
        f"OpenCV cannot be loaded ({error}); on Debian or Ubuntu: apt-get install {' '.join(DEBIAN_PACKAGES)}"
    ) from error
