"""Requests that mean no good, sent to a running page; see `benchmarks.faults`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np

SLOW_S = 60.0  # that an answer may take
OUTCOMES = ("refused", "silent", "server_error", "accepted", "slow")
NUMBERS = [-1, 1e308, -1e308, 10**30, "a", "", "1", True, [], {}, [1.0], {"a": 1}, "NaN", "Infinity", "0x10", "1e999"]
PATHS = [
    "/etc/passwd", "../../../../etc/passwd", "/proc/self/environ", "/dev/zero", "/dev/stdin", "/", "", ".", "\0",
    "a" * 5000, "file:///etc/passwd", "http://127.0.0.1:1/a.mp4", "http://169.254.169.254/latest", "missing.mp4",
    "/tmp/missing.mp4", "%2e%2e/%2e%2e/etc/passwd", "clip.mp4\n.wav",
]  # fmt: skip
NO_FILES = [
    5,
    1.5,
    True,
    "clip.mp4",
    [],
    {},
    {"path": None},
    {"path": 5},
    {"path": ["a"]},
    {"url": "file:///etc/passwd"},
]
CHOICES = ["long", "", 1, True, [], {}, "video; rm -rf", "a" * 10000, "\0", ["video"]]
NO_CONSENT = [False, None, "false", "true", 0, "", [], {}]
FIELDS = {
    "style_strength": NUMBERS, "mouth_amplitude": NUMBERS, "expression": NUMBERS,
    "length": CHOICES, "reference_strategy": CHOICES, "consent": NO_CONSENT,
}  # fmt: skip
FILES = ("clip", "speech", "style_clip", "reference_clip")
BODIES = [b"", b"{", b"[]", b'{"data": 5}', b'{"data": []}', b'{"data": [1]}', b"\xff\xfe", b'{"data": ' + b"[" * 5000]
SECRETS = ["/etc/passwd", "../../etc/passwd", "/proc/self/environ", "app.py", "..%2f..%2fetc/passwd", "//etc/passwd"]


class Page:
    """A running page, as a program that calls it sees it.

    Args:
        url: of the page.
        clip: a good video of a person.
        speech: a good sound.
    """

    def __init__(self, url: str, clip: Path, speech: Path) -> None:
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=SLOW_S)
        self.good = {
            "clip": self._upload(clip), "speech": self._upload(speech), "consent": True, "style_strength": 1.0,
            "mouth_amplitude": 1.0, "length": "video", "reference_strategy": "coverage", "style_clip": None,
            "reference_clip": None, "face_x": None, "face_y": None, "expression": 1.0,
        }  # fmt: skip

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _upload(self, path: Path) -> dict[str, Any]:
        answer = self._client.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())})
        return _file(answer.json()[0])

    def call(self, name: str, values: dict[str, Any]) -> tuple[str, str]:
        """Call a function of the page; returns outcome and words."""
        return self.post(name, json.dumps({"data": list(values.values())}).encode())

    def post(self, name: str, body: bytes) -> tuple[str, str]:
        """Call a function of the page with any body; returns outcome and words."""
        address = f"/gradio_api/call/{name}"
        try:
            answer = self._client.post(address, content=body, headers={"Content-Type": "application/json"})
            if answer.status_code != httpx.codes.OK:
                return _by_status(answer)
            with self._client.stream("GET", f"{address}/{answer.json()['event_id']}") as events:
                return _outcome(events)
        except httpx.TimeoutException:
            return "slow", f"more than {SLOW_S:.0f} s"

    def get(self, address: str) -> tuple[str, str]:
        """Ask for an address that must not be there; returns outcome and words."""
        return _by_status(self._client.get(address))

    def is_there(self) -> bool:
        """Whether the page itself is still served."""
        return self._client.get("/").status_code == httpx.codes.OK


def measure_requests(page: Page, count: int, seed: int) -> tuple[Counter, list[str]]:
    """Send `count` hostile requests.

    Returns:
        how often each outcome came, and a line for each request that was not refused with words.
    """
    random, counts, worse = np.random.default_rng(seed), Counter({outcome: 0 for outcome in OUTCOMES}), []
    for number in range(count):
        kind = ("values", "files", "body", "secret")[(0, 0, 0, 0, 1, 1, 1, 2, 2, 3)[number % 10]]
        asked, (outcome, words) = _send(page, kind, random)
        counts[outcome] += 1
        if outcome != "refused":
            worse.append(f"{number} {outcome}: {asked!r:.200}: {words:.300}")
    return counts, worse


def _send(page: Page, kind: str, random: np.random.Generator) -> tuple[object, tuple[str, str]]:
    """Send one request; returns what was asked, and outcome and words."""
    name = _pick(random, ["dub", "preview"])
    if kind == "body":
        body = _pick(random, BODIES)
        return body, page.post(name, body)
    if kind == "secret":
        secret = _pick(random, SECRETS)
        return secret, page.get(f"/gradio_api/file={secret}")
    if kind == "files":
        field = _pick(random, list(FILES))
        value = _pick(random, [*NO_FILES, *map(_file, PATHS)])
    else:
        field = _pick(random, list(FIELDS))
        value = _pick(random, FIELDS[field])
    if random.random() < 0.2:  # a face needs two finite numbers within the picture
        field, value = "face_x", _pick(random, [*NUMBERS, 5.0])
    return {field: value}, page.call(name, page.good | {field: value})


def _pick(random: np.random.Generator, items: list[Any]) -> Any:
    return items[random.integers(len(items))]


def _file(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def _by_status(answer: httpx.Response) -> tuple[str, str]:
    if answer.is_server_error:
        return "server_error", f"{answer.status_code} {answer.text}"
    return ("refused" if answer.is_client_error else "accepted"), f"{answer.status_code} {answer.text}"


def _outcome(events: httpx.Response) -> tuple[str, str]:
    """Read a call's events up to its end."""
    event = ""
    for line in events.iter_lines():
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: ") and event in ("complete", "error"):
            words = line.removeprefix("data: ")
            if event == "complete":
                return "accepted", words
            return ("silent" if words in ("null", '""') else "refused"), words
    return "silent", "the answer has no end"
