"""The panel of the references says how many there are and how many of them it shows."""

from __future__ import annotations

import pytest
from recorded_run import record_run

from personatalk.inspection.recording import Inspection
from personatalk.webapp import strings
from personatalk.webapp.panel_references import _fill_faces, _fill_lips
from personatalk.webapp.panels import PanelContext


@pytest.fixture
def context(tmp_path):
    record_run(tmp_path / "record")
    inspection = Inspection.load(tmp_path / "record")
    return PanelContext(inspection=inspection, video=tmp_path / "dubbed.mp4", folder=tmp_path, t=0)


def test_references_are_counted(context):
    total = len(context.inspection.lip_bank)
    for strategy in (strings.OWN, "random"):
        heading, shown = _fill_lips(context, strategy)
        assert len(shown) == min(total, 16) and f"the dub's {total}, the {len(shown)} that" in heading
    heading, shown = _fill_faces(context)
    total = len(context.inspection.face_bank)
    assert len(shown) == min(total, 16) and f"{len(shown)} of the dub's {total};" in heading
