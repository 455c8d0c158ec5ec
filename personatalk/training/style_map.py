"""Learn the plane on which speaking styles are shown: principal components of the training speakers' styles."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import LIPS, FaceModel
from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.geometry_construction.style import style_of
from personatalk.inspection.styles import StyleMap, style_vector
from personatalk.training.corpus import Clip, read_geometry

MIN_FRAMES = 50  # a clip of two seconds; shorter ones say little of a style
MIN_SPEAKERS = 3


def learn_style_map(clips: list[Clip], corpus: Path, face_model: FaceModel) -> StyleMap:
    """Learn the map from the training clips whose geometry is cached; each person is one point.

    Args:
        clips: of the manifest; those of other splits are left out.
        corpus: folder that preprocess filled.
        face_model: what the cached coefficients belong to.

    Raises:
        ValueError: fewer than three speakers have clips of two seconds.
    """
    vectors, traits = defaultdict(list), defaultdict(list)
    for clip in clips:
        geometry = read_geometry(corpus, clip) if clip.split == "train" else None
        if geometry is None or geometry.valid.sum() < MIN_FRAMES:
            continue
        style = style_of(geometry.expression, geometry.valid, geometry.template, face_model)
        vectors[clip.person].append(style_vector(style))
        traits[clip.person].append(traits_of(geometry, face_model))
    if len(vectors) < MIN_SPEAKERS:
        raise ValueError(f"a style map needs {MIN_SPEAKERS} speakers, got {len(vectors)} from {corpus}")
    means = [np.array([np.mean(values, 0) for values in table.values()]) for table in (vectors, traits)]
    return map_of(*means)


def traits_of(geometry: FaceGeometry, face_model: FaceModel) -> np.ndarray:
    """[6] what the axes are explained by, in the order of styles.TRAITS, IOD."""
    vertices = face_model.vertices(geometry.template, geometry.expression[geometry.valid])
    opening, width = lip_aperture(vertices), mouth_width(vertices)
    _, lowered, back = (vertices[:, list(LIPS)] - geometry.template[list(LIPS)]).mean((0, 1))
    return np.array(
        (opening.mean(), opening.std(), width.mean() - mouth_width(geometry.template), width.std(), back, lowered)
    )


def map_of(vectors: np.ndarray, traits: np.ndarray) -> StyleMap:
    """Fit the plane to speakers [N, D] and explain it by their traits [N, 6]."""
    mean = vectors.mean(0)
    _, singular, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    axes = directions[:2]
    points = (vectors - mean) @ axes.T
    correlation = np.corrcoef(points.T, traits.T)[:2, 2:]
    # the side of an axis is free: let each point to more of the trait that it goes along with most
    sides = np.sign(correlation[np.arange(2), np.abs(correlation).argmax(1)])
    order = np.random.default_rng(0).permutation(len(points))  # the place in the list names nobody
    return StyleMap(
        mean=mean, axes=axes * sides[:, None], points=(points * sides)[order],
        variance=(singular**2 / (singular**2).sum())[:2], correlation=correlation * sides[:, None],
    )  # fmt: skip
