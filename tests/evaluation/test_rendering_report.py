"""Which renderers are judged, the page of large frames, and native pixels."""

from __future__ import annotations

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from window_clips import pictures, tiny_renderer, window_clip

from personatalk.checkpoints import DEFAULT_FOLDER, save_model
from personatalk.errors import CheckpointError, MediaError
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering import native, protocol, renderers
from personatalk.evaluation.rendering.baselines import baselines
from personatalk.evaluation.rendering.judging import Judges, RunTruth
from personatalk.evaluation.rendering.native import Place, evaluate_native, largest_faces
from personatalk.evaluation.rendering.page import OURS, amplified_difference, draw_clip, write_page
from personatalk.evaluation.rendering.page_parts import best_method
from personatalk.evaluation.rendering.renderers import evaluate_renderers, load_renderer, renderer_rows
from personatalk.evaluation.rendering.repainting import renderer_method
from personatalk.evaluation.report import report_of
from personatalk.face_rendering.inputs import device_of
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh


@pytest.fixture(scope="module")
def mesh():
    return FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


@pytest.fixture(scope="module")
def judges():
    return Judges.load(DEFAULT_FOLDER)


def test_a_renderer_with_the_name_of_another_row_is_refused(mesh, tmp_path):
    for name in (OURS, "nearest frame", f"{OURS}, without decoder"):
        inputs = EvaluationInputs(
            data=tmp_path,
            manifest=tmp_path,
            corpus=tmp_path,
            checkpoints=DEFAULT_FOLDER,
            renderers={name: DEFAULT_FOLDER},
        )
        with pytest.raises(MediaError, match="another row"):
            renderer_rows(inputs, mesh.face_model)


def test_weights_are_loaded_with_the_configuration_beside_them(tmp_path):
    model = tiny_renderer("dense")
    save_model(model, model.config, tmp_path, "renderer")
    (tmp_path / "renderer.safetensors").rename(tmp_path / "step_8000.safetensors")
    loaded = load_renderer(tmp_path / "step_8000.safetensors")
    assert loaded.config.attention == "dense"
    assert torch.equal(loaded.encode[0].weight, model.encode[0].weight)
    with pytest.raises(CheckpointError, match=r"renderer\.safetensors"):
        load_renderer(tmp_path)


def test_the_page_shows_large_frames_and_no_clip_by_its_name(mesh, judges, tmp_path):
    clip, run = window_clip(mesh, 11), np.arange(30, 36)
    truth = RunTruth(clip, run, mesh, judges)
    methods = {**baselines(mesh), OURS: renderer_method(tiny_renderer(), mesh)}
    painted = {name: paint(clip, run) for name, paint in methods.items()}
    figures = {name: truth.figures(result) for name, result in painted.items()}
    shown = draw_clip(tmp_path, 3, truth, 2, source=pictures(11)[32], painted=painted, figures=figures)
    write_page(tmp_path, report_of("rendering", {n: [f] for n, f in figures.items()}, clips=1, skipped=0), [shown])
    page = (tmp_path / "index.html").read_text()
    drawn = {name: cv2.imread(str(tmp_path / name)) for name, _ in shown.pictures}
    assert len(drawn) == 5
    for name, picture in drawn.items():
        assert name in page
        assert min(picture.shape[:2]) >= 384
    true, _, ours, difference, _ = drawn.values()
    in_window = truth.blend(painted[OURS])[2, 70:90, 86:106].mean((0, 1))
    assert np.abs(ours[319:367, 216:264, ::-1].mean((0, 1)) - in_window).max() < 3
    assert np.array_equal(difference, amplified_difference(ours, true))
    assert 0 < (difference > 0).any(-1).mean() < 0.5  # the upper face is the source's own
    assert "Clip 3" in page and "4 times" in page
    assert sum(float(text.split(": ")[1][:-1]) for _, text in shown.legend) == pytest.approx(100, abs=4)


def test_the_best_of_a_column_depends_on_what_it_measures():
    def table(name, *means):
        return {str(mean): {name: {"mean": mean}} for mean in means}

    assert best_method(table("psnr_lips", 20.0, 24.0), "psnr_lips") == "24.0"
    assert best_method(table("lpips_lips", 0.1, 0.2), "lpips_lips") == "0.1"
    assert best_method(table("sharpness_lips", 0.8, 1.1, 1.6), "sharpness_lips") == "1.1"
    assert best_method(table("lip_attention_change", 0.1, 0.2), "lip_attention_change") is None


def test_the_largest_face_of_each_person_is_judged(mesh, tmp_path):
    (tmp_path / "tracks").mkdir()
    lines = ["file\tsplit\tperson\tsound"]
    for name, person, size in (("a", "1", 1.0), ("b", "1", 2.0), ("c", "2", 1.5), ("d", "3", 0.5)):
        track = known_face(mesh.face_model, noise_iod=0, seed=1).track
        track = replace(track, landmarks=track.landmarks * np.float32(size))
        np.savez(tmp_path / "tracks" / f"{name}.npz", **vars(track))
        lines.append(f"{name}.mp4\tval\t{person}\t0")
    (tmp_path / "manifest.tsv").write_text("\n".join(lines))
    inputs = EvaluationInputs(
        data=tmp_path, manifest=tmp_path / "manifest.tsv", corpus=tmp_path, checkpoints=DEFAULT_FOLDER
    )
    found = largest_faces(inputs, 2)
    assert [clip.name for clip, _ in found] == ["b", "c"]
    assert found[0][1] / found[1][1] == pytest.approx(2 / 1.5, rel=1e-4)


def test_native_figures_see_blur_and_any_pixel_outside(mesh):
    clip, truth = window_clip(mesh, 12), pictures(12)[30]
    place = Place(clip, 30, mesh, truth)
    assert place.figures(truth)["changed_outside"] == 0
    assert place.figures(truth)["log_sharpness_lips"] == pytest.approx(0)
    touched = truth.copy()
    outside = np.argwhere(place.mask == 0)[7]
    touched[tuple(outside)] ^= 1
    assert place.figures(touched)["changed_outside"] == 1
    enlarged = place.enlarge(clip.images[30].astype(np.float32))
    assert np.array_equal(enlarged[place.mask == 0], truth[place.mask == 0])
    assert place.figures(enlarged)["psnr_lips"] > 30
    assert place.figures(cv2.blur(truth, (9, 9)))["log_sharpness_lips"] < np.log(0.5)


def test_rendering_and_native_compute_on_the_device_of_the_inputs(mesh, tmp_path, monkeypatch):
    """All renderers and judges that either evaluation loads, also those that a user names."""
    own = tiny_renderer()
    save_model(own, own.config, tmp_path, "renderer")
    (tmp_path / "manifest.tsv").write_text("file\tsplit\tperson\tsound\n")
    shutil.copy(DEFAULT_FOLDER / "face_model.safetensors", tmp_path)
    inputs = EvaluationInputs(
        data=tmp_path,
        manifest=tmp_path / "manifest.tsv",
        corpus=tmp_path,
        checkpoints=tmp_path,
        renderers={"mine": tmp_path},
        device=torch.device("meta"),
    )
    found = {"judges": [], "rows": [], "native": []}
    monkeypatch.setattr(renderers, "own_speech", lambda *ignored: None)
    monkeypatch.setattr(
        renderers, "renderer_method", lambda model, mesh, **options: found["rows"].append(device_of(model).type)
    )
    monkeypatch.setattr(protocol.Judges, "load", lambda folder, device="cpu": found["judges"].append(str(device)))
    monkeypatch.setattr(native, "largest_faces", lambda *ignored: [("a clip", 100.0)])
    monkeypatch.setattr(
        native,
        "judge_clip",
        lambda inputs, models, *ignored: found["native"].extend(device_of(m).type for m in models.values()) or {},
    )
    evaluate_renderers(inputs)
    evaluate_native(inputs)
    assert found["judges"] == ["meta"] and set(found["rows"]) == {"meta"} and len(found["rows"]) > 6
    assert found["native"] == ["meta", "meta"]
