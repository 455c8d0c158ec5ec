"""Videos to a corpus on disk: tracks, geometry and the renderer's windows, each made once."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from personatalk.errors import NoFaceError, PersonaTalkError
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image, window_from_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.tracking import MediaPipeTracker, track_face
from personatalk.media import probe_video, read_frames
from personatalk.occlusion.search import estimate_face
from personatalk.training.corpus import (
    Clip,
    cache_path,
    clips_of_folder,
    load_track,
    read_manifest,
    save_track,
)

MIN_FRAMES = 20
MIN_SCALE_PX = 30.0  # smallest inter-ocular distance worth training on
MAX_WINDOWS_PER_PERSON = 900  # frames; bounds the disk space that one speaker takes

logger = logging.getLogger(__name__)


def track_clip(clip: Clip, data: Path, corpus: Path) -> str:
    """Track the face of a clip and cache the track; returns the outcome."""
    target = cache_path(corpus, "tracks", clip)
    if target.exists():
        return "cached"
    info = probe_video(data / clip.file)
    with MediaPipeTracker() as tracker:
        frames = ((frame.time, frame.image) for frame in read_frames(data / clip.file))
        track = track_face(frames, tracker, width=info.width, height=info.height)
    save_whole(partial(save_track, track), target)
    return "tracked"


def fit_clip(clip: Clip, data: Path, corpus: Path, mesh: FaceMesh) -> str:
    """Estimate the geometry of a tracked clip as a dub does, and cache it."""
    source, target = cache_path(corpus, "tracks", clip), cache_path(corpus, "geometry", clip)
    if target.exists() or not source.exists():
        return "cached" if target.exists() else "no track"
    try:
        geometry = estimate_face(data / clip.file, load_track(source), mesh, finds_occlusion=False).geometry
    except NoFaceError:
        return "no face"
    if geometry.valid.sum() < MIN_FRAMES:
        return "too short"
    if float(np.median(geometry.scale)) < MIN_SCALE_PX:
        return "face too small"
    save_whole(geometry.save, target)
    return "fitted"


def cut_windows(clip: Clip, data: Path, corpus: Path) -> str:
    """Cache the renderer's window of every frame of a clip, uint8 [T, 160, 192, 3]."""
    source, target = cache_path(corpus, "geometry", clip), cache_path(corpus, "windows", clip)
    if target.exists() or not source.exists():
        return "cached" if target.exists() else "no geometry"
    affines = window_from_image(FaceGeometry.load(source))
    windows = np.empty((len(affines), WINDOW_HEIGHT, WINDOW_WIDTH, 3), np.uint8)
    for frame in read_frames(data / clip.file):
        windows[frame.index] = warp_image(frame.image, affines[frame.index], WINDOW_WIDTH, WINDOW_HEIGHT)
    save_whole(lambda path: np.save(path, windows), target)
    return "cut"


def save_whole(save: Callable[[Path], None], target: Path) -> None:
    """Write beside the target and rename, so that a crash leaves no half file."""
    unfinished = target.with_suffix(".unfinished" + target.suffix)
    save(unfinished)
    unfinished.replace(target)


def limit_windows(clips: list[Clip], corpus: Path) -> list[Clip]:
    """Drop clips of persons that have enough frames already."""
    counts: Counter[str] = Counter()
    kept = []
    for clip in clips:
        path = cache_path(corpus, "geometry", clip)
        if path.exists() and counts[clip.person] < MAX_WINDOWS_PER_PERSON:
            with np.load(path) as arrays:
                counts[clip.person] += len(arrays["valid"])
            kept.append(clip)
    return kept


def _guarded(task: Callable[[Clip], str], clip: Clip) -> str:
    try:
        return task(clip)
    except PersonaTalkError as error:
        logger.warning("%s: %s", clip.file, error)
        return "refused"


def run_stage(pool: Executor, task: Callable[[Clip], str], clips: list[Clip]) -> Iterator[Counter[str]]:
    """Run one stage over all clips in several processes, yielding the counts so far."""
    counts: Counter[str] = Counter()
    for outcome in pool.map(partial(_guarded, task), clips, chunksize=4):
        counts[outcome] += 1
        yield counts


def preprocess(
    data: Path,
    corpus: Path,
    face_model: FaceModel,
    *,
    manifest: Path | None = None,
    workers: int | None = None,
    report: Callable[[str], None] = logger.info,
) -> dict[str, dict[str, int]]:
    """Track, fit and cut all clips of a folder; what is done already is kept.

    Args:
        data: folder of videos.
        corpus: folder for the caches.
        face_model: for the fit.
        manifest: .tsv of the clips; without it every video below `data` is taken.
        workers: processes; default one per core.
        report: called with a line of progress now and then.

    Returns:
        for each stage how many clips ended how.
    """
    clips = read_manifest(manifest) if manifest else clips_of_folder(data)
    for name in ("tracks", "geometry", "windows"):
        (corpus / name).mkdir(parents=True, exist_ok=True)
    workers = workers or os.cpu_count() or 1
    totals: dict[str, dict[str, int]] = {}

    def run(stage: str, task: Callable[[Clip], str], some: list[Clip]) -> None:
        counts: Counter[str] = Counter()
        for done, so_far in enumerate(run_stage(pool, task, some), 1):
            counts = so_far
            if done % 100 == 0 or done == len(some):
                report(f"{stage}: {done} of {len(some)} clips")
        totals[stage] = dict(counts)

    # spawned: a fork of a process that has threads, of OpenGL or of the tracker, may find its memory in disorder
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        run("track", partial(track_clip, data=data, corpus=corpus), clips)
        run("fit", partial(fit_clip, data=data, corpus=corpus, mesh=FaceMesh(face_model)), clips)
        run("windows", partial(cut_windows, data=data, corpus=corpus), limit_windows(clips, corpus))
    return totals
