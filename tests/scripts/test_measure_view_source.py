"""The comparison of views from the picture's own pixels with those from the working size."""

from __future__ import annotations

import numpy as np
import pytest

from scripts import measure_view_source


@pytest.mark.slow
def test_every_size_is_scored_from_both_pictures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure_view_source, "WIDTH", 512)
    monkeypatch.setattr(measure_view_source, "WORKING_WIDTH", 256)
    monkeypatch.setattr(measure_view_source, "SIZES", (64,))
    scores = measure_view_source.measure(measure_view_source.SCENES[:1])
    assert list(scores) == [(64, 256), (64, 512)]
    of_both = [matrix.matrix for matrix in scores.values()]
    assert all(counts.sum() == 512 * 256 for counts in of_both)
    assert (np.asarray(of_both[0]) != of_both[1]).any()
    monkeypatch.setattr(measure_view_source, "measure", lambda _: scores)
    measure_view_source.main(["--scenes", "1"])
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("|")[2].strip() for row in rows[2:]] == ["256x128", "512x256"]
