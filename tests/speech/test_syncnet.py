"""SyncNet: built to fit its published weights, its audio features as it was trained with, and the right shift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from personatalk.errors import CheckpointError
from personatalk.speech.syncnet import NUM_CEPSTRA, SyncNet, cepstra, compare_streams, embed_streams, load_syncnet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SyncNet().eval()


def test_the_names_are_those_of_the_published_weights(network):
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["netcnnaud.14.weight"] == (256, 256, 3, 3)  # the Nth of a flat list of layers
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)


def test_weights_are_read_from_either_kind_of_file_and_must_fit(network, tmp_path):
    weights = network.state_dict()
    torch.save(weights, tmp_path / "syncnet_v2.model")
    save_file(weights, tmp_path / "syncnet.safetensors")
    for name in ("syncnet_v2.model", "syncnet.safetensors"):
        loaded = load_syncnet(tmp_path / name).state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in weights.items())
    torch.save({key: value for key, value in weights.items() if "netfclip" not in key}, tmp_path / "half.model")
    (tmp_path / "text.model").write_text("not found")
    for name in ("half.model", "text.model", "missing.model"):
        with pytest.raises(CheckpointError, match=name):
            load_syncnet(tmp_path / name)


def test_every_window_is_embedded_alone(network):
    crops = np.random.default_rng(0).integers(0, 255, (7, 224, 224, 3)).astype(np.uint8)
    columns = np.random.default_rng(1).normal(size=(30, 13))
    faces, audio = embed_streams(network, crops, columns)
    assert faces.shape == audio.shape == (3, 1024)
    alone, _ = embed_streams(network, crops[1:6], columns[4:24])
    torch.testing.assert_close(faces[1:2], alone, atol=1e-4, rtol=1e-3)
    assert embed_streams(network, crops[:4], columns)[0].shape == (0, 1024)


def test_cepstra_are_those_that_the_network_was_trained_on():
    """The definition: 26 mel filters at whole FFT bins, lifter 22, emphasis .97, windows of 25 ms without a taper."""
    waveform = np.random.default_rng(0).normal(0, 0.1, 3333)
    np.testing.assert_allclose(cepstra(waveform), cepstra_by_hand(waveform), atol=1e-6)
    assert cepstra(np.zeros(8000)).shape == (49, NUM_CEPSTRA)


def cepstra_by_hand(waveform: np.ndarray) -> np.ndarray:
    samples = waveform * 32768
    samples = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
    starts = range(0, len(samples) - 400 + 160, 160)
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    edges = np.floor(513 * 700 * (10 ** (mels / 2595) - 1) / 16000).astype(int)
    rows = []
    for start in starts:
        window = samples[start : start + 400]
        power = np.abs(np.fft.rfft(window, 512)) ** 2 / 512
        logs = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            rising = ((np.arange(low, centre) - low) / (centre - low)) @ power[low:centre]
            falling = ((high - np.arange(centre, high)) / (high - centre)) @ power[centre:high]
            logs.append(np.log(rising + falling))
        band, order = np.arange(26), np.arange(NUM_CEPSTRA)[:, None]
        scale = np.where(order == 0, np.sqrt(1 / 26), np.sqrt(2 / 26))[:, 0]
        row = scale * (np.cos(np.pi * order * (2 * band + 1) / 52) @ np.array(logs))
        row *= 1 + 11 * np.sin(np.pi * np.arange(NUM_CEPSTRA) / 22)
        row[0] = np.log(power.sum())
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_a_picture_that_comes_late_is_found_late(late):
    sounds = torch.randn(80, 16, generator=torch.Generator().manual_seed(0))
    found = compare_streams(sounds.roll(late, 0), sounds)
    assert found.offset_s == pytest.approx(late / 25)
    assert found.distance < 0.2 * (found.distance + found.confidence)
    assert compare_streams(sounds[:0], sounds[:0]) is None
