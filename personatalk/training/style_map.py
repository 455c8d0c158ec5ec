"""Learn the plane on which speaking styles are shown: principal components of the training speakers' styles."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from personatalk.errors import PersonaTalkError
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import LIPS, FaceModel
from personatalk.geometry.mouth import lip_aperture, mouth_width
from personatalk.geometry_construction.style import style_of
from personatalk.inspection.styles import StyleMap, style_vector
from personatalk.training.corpus import Clip, read_geometry

MIN_FRAMES = 50  # of a clip; shorter ones say little about a style
MIN_SPEAKERS = 3


def learn_style_map(clips: list[Clip], corpus: Path, face_model: FaceModel) -> StyleMap:
    """Learn the map from the training clips whose geometry is cached; each person is one point.

    Args:
        clips: of the manifest; those of other splits are left out.
        corpus: folder that preprocess filled.
        face_model: what the cached coefficients belong to.

    Raises:
        PersonaTalkError: fewer than three speakers have clips of two seconds.
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
        raise PersonaTalkError(
            f"a style map needs {MIN_SPEAKERS} speakers, got {len(vectors)} from {corpus}; run preprocess first"
        )
    means = [np.array([np.mean(values, 0) for values in table.values()]) for table in (vectors, traits)]
    return map_of(*means)


def traits_of(geometry: FaceGeometry, face_model: FaceModel) -> np.ndarray:
    """Measure what the axes are explained by: [6] IOD, in the order of styles.TRAITS."""
    vertices = face_model.vertices(geometry.template, geometry.expression[geometry.valid])
    aperture, width = lip_aperture(vertices), mouth_width(vertices)
    _, lowered, back = (vertices[:, list(LIPS)] - geometry.template[list(LIPS)]).mean((0, 1))
    return np.array(
        (aperture.mean(), aperture.std(), width.mean() - mouth_width(geometry.template), width.std(), back, lowered)
    )


def map_of(vectors: np.ndarray, traits: np.ndarray) -> StyleMap:
    """Fit the plane to speakers [N, D] by principal components, and explain it by their traits [N, 6]."""
    components = PCA(n_components=2, svd_solver="full").fit(vectors)
    points = components.transform(vectors)
    correlation = np.corrcoef(points.T, traits.T)[:2, 2:]
    # the sign of a component is arbitrary: let each point to more of the trait that it correlates with most
    sign = np.sign(correlation[np.arange(2), np.abs(correlation).argmax(1)])
    order = np.random.default_rng(0).permutation(len(points))  # so that the order does not identify speakers
    return StyleMap(
        mean=components.mean_,
        axes=components.components_ * sign[:, None],
        points=(points * sign)[order],
        variance=components.explained_variance_ratio_,
        correlation=correlation * sign[:, None],
    )
