"""Which panorama a labelling tool's picture is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.exchange.regions import LabelledPicture
from pipeline.settings import file_digest
from stages.import_matching import Matcher
from stages.import_sources import Incoming
from stages.splits import SplitPanorama

PLAIN = np.zeros((4, 8), np.uint8)


@pytest.mark.parametrize(
    ("name", "panorama_id"),
    [
        ("0001.png", "panoramas/city1/0001"),
        ("day/0001.png", "evaluation/city2/day/0001"),
        ("labels/0001.png", "panoramas/city1/0001"),
        ("panoramas/0001.png", "panoramas/city1/0001"),
        ("images\\City1\\0001.jpg", "panoramas/city1/0001"),
        ("//data/0007.png", "panoramas/0007"),
        ("/data/batch 3/0007.png", "panoramas/0007"),
    ],
)
def test_a_name_may_lack_folders_and_have_further_ones_in_front(name: str, panorama_id: str) -> None:
    ids = [panorama_id] if "city" in panorama_id else ["panoramas/city1/0001", panorama_id]
    matcher = Matcher([SplitPanorama(one, Path("any.jpg")) for one in ids])
    assert matcher.match(Incoming(name, LabelledPicture(name, PLAIN, "")))[0].id == panorama_id


@pytest.mark.parametrize(
    "name", ["city2/0001.png", "labels/city2/0001.png", "evaluation/0001.png", "/city1/x/0001.png"]
)
def test_another_folder_of_the_same_file_name_is_another_panorama(name: str) -> None:
    matcher = Matcher([SplitPanorama("panoramas/city1/0001", Path("any.jpg"))])
    told = r"0001\.png is not of panoramas/city1/0001, whose folder is another"
    with pytest.raises(InputError, match=told):
        matcher.match(Incoming(name, LabelledPicture(name, PLAIN, "")))
    of_known_content = LabelledPicture(name, PLAIN, "ab")
    assert matcher.match(Incoming(name, of_known_content))[0].id == "panoramas/city1/0001", "its content is compared"


def test_of_several_of_a_name_the_content_tells_which_is_meant(tmp_path: Path) -> None:
    panoramas = [SplitPanorama(f"panoramas/{name}", tmp_path / f"{name}.jpg") for name in ("1", "a/1")]
    for panorama in panoramas:
        panorama.path.parent.mkdir(exist_ok=True)
        panorama.path.write_text(panorama.id)
    matcher = Matcher(panoramas)
    for panorama in panoramas:
        picture = LabelledPicture("1.jpg", PLAIN, file_digest(panorama.path))
        assert matcher.match(Incoming("1.jpg", picture))[0] == panorama
    told = "1.jpg could belong to panoramas/1, panoramas/a/1; .*Give it one of these names"
    for sha256 in ("", "0" * 64):
        with pytest.raises(InputError, match=told):
            matcher.match(Incoming("1.jpg", LabelledPicture("1.jpg", PLAIN, sha256)))
    for panorama in panoramas:
        name = f"{panorama.id}.png"
        assert matcher.match(Incoming(name, LabelledPicture(name, PLAIN)))[0] == panorama
