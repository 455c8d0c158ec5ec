"""Packaging: weights and examples become part of the installed package; all else stands in pyproject.toml."""

from setuptools import find_packages, setup

SHIPPED = {"personatalk.shipped.checkpoints": "checkpoints", "personatalk.shipped.assets": "assets"}

setup(
    packages=[*find_packages(include=["personatalk*"]), *SHIPPED],
    package_dir=SHIPPED,
    package_data={
        "personatalk.webapp": ["static/*", "translations/*"],
        "personatalk.shipped.checkpoints": ["*.safetensors", "*.json", "README.md"],
        "personatalk.shipped.assets": ["*.mp4", "*.wav", "*.jpg", "README.md"],
    },
)
