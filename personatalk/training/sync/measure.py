"""Measure with trained sync networks: each clip's offset, and how probable it is that its audio is the face's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.preprocessing import StandardScaler

from personatalk.errors import PersonaTalkError
from personatalk.speech.sync_network import (
    LIP_RATE,
    NUM_SHIFTS,
    STEPS_PER_FRAME,
    Synchrony,
    SyncNetwork,
    measure_lip_synchrony,
)
from personatalk.training.corpus import MeasuredClip
from personatalk.training.regression import fit_logistic
from personatalk.training.sync.dataset import SyncClip

PRIOR_ROUNDS, PRIOR_FLOOR = 8, 1e-3
IN_SYNC_PRIOR = 0.8  # share of clips whose audio is the face's, before anything is measured
IN_SYNC_DECAY = 1e-3
SHIFT_FRAMES = (np.arange(NUM_SHIFTS) - (NUM_SHIFTS - 1) // 2) / STEPS_PER_FRAME


def measure_clips(clips: list[SyncClip], network_of: Callable[[SyncClip], SyncNetwork]) -> list[MeasuredClip]:
    """Measure every clip's offset, and the probability that it is in sync with its own audio.

    The distribution of offsets is learnt from all clips together. Clips paired with another person's audio serve as
    negatives.

    Args:
        network_of: the network for a clip: one that has not learnt from its person.

    Returns:
        one entry for each clip that is long enough to be measured.

    Raises:
        PersonaTalkError: no clip is.
    """
    own, mismatched, kept = [], [], []
    for clip, other in zip(clips, mismatched_negatives(clips), strict=True):
        network = network_of(clip)
        found, false = (
            measure_lip_synchrony(network, c.sounds[0], clip.lips, clip.valid, clip.times) for c in (clip, other)
        )
        if found is not None and false is not None:
            own.append(found)
            mismatched.append(false)
            kept.append(clip)
    if not kept:
        raise PersonaTalkError("no clip is long enough to measure its offset; run preprocess first")
    likelihood = np.stack([softmax(found.log_odds) for found in own])
    prior = offset_prior(likelihood)
    num_frames = np.array([len(clip.times) for clip in kept])
    in_sync = in_sync_probability(*(sync_evidence(found, num_frames, prior) for found in (own, mismatched)))
    return [
        MeasuredClip(name=clip.clip.name, offset_s=posterior_offset(shares * prior), in_sync=float(probability))
        for clip, shares, probability in zip(kept, likelihood, in_sync, strict=True)
    ]


def posterior_offset(posterior: np.ndarray) -> float:
    """Seconds by which the picture comes after the audio, to half a frame: the mean around the most probable shift.

    Args:
        posterior: [NUM_SHIFTS], up to a factor; shifts are of the audio, so the picture's are the other way.
    """
    near = np.abs(np.arange(NUM_SHIFTS) - posterior.argmax()) <= STEPS_PER_FRAME
    shift = float((posterior * SHIFT_FRAMES)[near].sum() / posterior[near].sum())
    return round(-2 * shift) / 2 / LIP_RATE + 0.0


def mismatched_negatives(clips: list[SyncClip]) -> list[SyncClip]:
    """For each clip the next one of another person of at least .9 of its length; itself where there is none."""
    found = []
    for index, clip in enumerate(clips):
        others = clips[index + 1 :] + clips[:index]
        fits = (o for o in others if o.clip.person != clip.clip.person and len(o.times) >= 0.9 * len(clip.times))
        found.append(next(fits, clip))
    return found


def sync_evidence(found: list[Synchrony], num_frames: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """What tells a clip's own audio from another's.

    Args:
        found: of N clips.
        num_frames: [N] their lengths.
        prior: [NUM_SHIFTS] of the offsets.

    Returns:
        [N, 3] log likelihood under the prior of the offsets, confidence a frame, and the latter times log length.
    """
    likelihood = [np.log(NUM_SHIFTS * (softmax(one.log_odds) * prior).sum()) for one in found]
    confidence = np.array([one.confidence for one in found]) / np.sqrt(num_frames)
    return np.stack([np.array(likelihood), confidence, confidence * np.log(num_frames)], 1)


def in_sync_probability(own: np.ndarray, mismatched: np.ndarray) -> np.ndarray:
    """Probability [N] that a clip's own audio is in sync, by logistic regression and a prior of .8.

    Args:
        own: [N, 3] of `sync_evidence` for clips with their own audio; some of it may be another's all the same.
        mismatched: [N, 3] for the clips with another person's audio.
    """
    evidence = np.concatenate([own, mismatched])
    values = np.asarray(StandardScaler().fit_transform(evidence))
    is_own = np.arange(len(values)) < len(own)
    logits = fit_logistic(values, is_own, decay=IN_SYNC_DECAY).decision_function(values[: len(own)])
    return 1 / (1 + np.exp(-logits) * (1 - IN_SYNC_PRIOR) / IN_SYNC_PRIOR)


def offset_prior(likelihood: np.ndarray) -> np.ndarray:
    """Learn the distribution of offsets [NUM_SHIFTS] from likelihoods [N, NUM_SHIFTS], by expectation maximisation."""
    prior = np.full(NUM_SHIFTS, 1 / NUM_SHIFTS)
    for _ in range(PRIOR_ROUNDS):
        posterior = likelihood * prior
        posterior /= posterior.sum(1, keepdims=True)
        prior = np.convolve(posterior.mean(0), (0.25, 0.5, 0.25), "same") + PRIOR_FLOOR
        prior /= prior.sum()
    return prior


def softmax(log_odds: np.ndarray) -> np.ndarray:
    """Log odds to shares that add up to one; minus infinity becomes 0."""
    shares = np.exp(log_odds - log_odds.max())
    return shares / shares.sum()
