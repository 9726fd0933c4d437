"""A recipe written for what lies in a folder."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError, RecipeError
from pipeline.panorama.images import open_panorama
from pipeline.recipe import load_recipe
from stages import init as init_module
from stages.init import recipe_text, survey_pictures, write_recipe, write_recipe_for
from stages.runs import open_run


def save_bands(folder: Path, count: int, rig_rows: int = 0, grey: int = 40) -> None:
    folder.mkdir()
    for seed in range(count):
        picture = np.random.default_rng(seed).integers(0, 255, (25, 128, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
        picture[100 - rig_rows :] = grey
        Image.fromarray(picture).save(folder / f"{seed}.png")


def test_init_writes_a_recipe_for_what_is_there(tmp_path: Path) -> None:
    save_bands(tmp_path / "bands", 5, rig_rows=25)
    Image.new("RGB", (512, 256)).save(tmp_path / "bands" / "sphere.png")
    found = survey_pictures(tmp_path / "bands")
    assert found.sizes == {"512x100": 5, "512x256": 1} and found.vertical_fov == 70.3 and found.others == 1
    assert found.rig_share == pytest.approx(0.25, abs=0.05) and found.positions == 0
    write_recipe(tmp_path / "my.toml", recipe_text(found, "my", "/weights/sam.pth"))
    recipe = load_recipe(tmp_path / "my.toml")
    assert recipe.panorama.vertical_fov == 70.3 and recipe.name == "my"
    assert recipe.data.panoramas == str(tmp_path / "bands") and recipe.sam.checkpoint == "/weights/sam.pth"
    text = (tmp_path / "my.toml").read_text()
    assert "rows look the same in all 5" in text and "1 pictures have another shape" in text
    with pytest.raises(InputError, match="already exists"):
        write_recipe(tmp_path / "my.toml", "")


def save_tagged(path: Path, width: int, height: int, left: int, top: int) -> None:
    """A picture that GPano tags place on a sphere of 1024x512."""
    path.parent.mkdir(exist_ok=True)
    tags = {"FullPanoWidthPixels": 1024, "FullPanoHeightPixels": 512, "CroppedAreaImageWidthPixels": width,
            "CroppedAreaImageHeightPixels": height, "CroppedAreaLeftPixels": left,
            "CroppedAreaTopPixels": top}  # fmt: skip
    xmp = " ".join(f'GPano:{key}="{value}"' for key, value in tags.items()).encode()
    Image.new("RGB", (width, height), (90, 120, 150)).save(path, xmp=xmp)


@pytest.mark.parametrize(
    "place", [(1024, 250, 0, 100), (500, 150, 0, 156), (400, 300, 300, 60)], ids=["off the horizon", "wide", "narrow"]
)
def test_the_recipe_for_parts_of_the_sphere_takes_them(tmp_path: Path, place: tuple[int, int, int, int]) -> None:
    save_tagged(tmp_path / "parts" / "one.jpg", *place)
    found = survey_pictures(tmp_path / "parts")
    text = recipe_text(found, "my", "/weights/sam.pth")
    write_recipe(tmp_path / "my.toml", text)
    panorama = open_panorama(tmp_path / "parts" / "one.jpg", load_recipe(tmp_path / "my.toml").panorama)
    share = place[0] * place[1] / (1024 * 512)
    assert (~panorama.transparent_HW).mean() == pytest.approx(share, rel=0.02)
    assert "all the way round" not in text and "Full spheres" not in text and "GPano tags say where" in text
    assert "0 of 1 sampled pictures have a position" in text


def test_a_band_around_the_horizon_stays_one_with_tags(tmp_path: Path) -> None:
    save_tagged(tmp_path / "bands" / "one.jpg", 1024, 200, 0, 156)
    found = survey_pictures(tmp_path / "bands")
    assert found.vertical_fov == 70.3 and found.parts == 0


@pytest.mark.parametrize("file", ["weights.toml", "students.toml"])
def test_a_recipe_is_not_called_like_what_runs_share(tmp_path: Path, file: str) -> None:
    save_bands(tmp_path / "bands", 1)
    write_recipe_for(tmp_path / "bands", tmp_path / file, "", None)
    assert open_run(str(tmp_path / file)).recipe.name == f"my-{Path(file).stem}"
    with pytest.raises(RecipeError, match=r"name is 'bench'.*Choose another name"):
        write_recipe_for(tmp_path / "bands", tmp_path / "other.toml", "bench", None)
    assert not (tmp_path / "other.toml").exists()


@pytest.mark.parametrize("name", ["x.json", "x", "x.toml.txt"])
def test_a_name_that_commands_do_not_take_for_a_recipe_is_refused(tmp_path: Path, name: str) -> None:
    save_bands(tmp_path / "bands", 1, rig_rows=0)
    with pytest.raises(InputError, match=f"{name} does not end with .toml"):
        write_recipe_for(tmp_path / "bands", tmp_path / name, "", None)
    assert not (tmp_path / name).exists()


def test_black_ground_is_no_rig_for_it_is_ignored_without_a_mask(tmp_path: Path) -> None:
    save_bands(tmp_path / "bands", 5, rig_rows=26, grey=2)
    assert survey_pictures(tmp_path / "bands").rig_share == 0


def test_init_of_full_spheres_leaves_the_field_of_view_alone(own_finished: Path) -> None:
    found = survey_pictures(own_finished / "photos")
    assert found.vertical_fov == 180 and found.rig_share == 0
    settings = tomllib.loads(recipe_text(found, "my", 'odd "weights".pth'))
    assert "vertical_fov" not in settings["panorama"]
    assert settings["sam"]["model"] == "vit_b"
    assert settings["sam"]["checkpoint"] == 'odd "weights".pth'


@pytest.mark.parametrize(
    ("gpu", "model", "file"), [("", "vit_t", "mobile_sam.pt"), ("H100", "vit_b", "sam_vit_b_01ec64.pth")]
)
def test_init_proposes_a_small_sam_where_there_is_no_gpu(
    own_finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: str, model: str, file: str
) -> None:
    monkeypatch.setattr(init_module, "_gpu", lambda: gpu)
    write_recipe_for(own_finished / "photos", tmp_path / "my.toml", "", None)
    sam = load_recipe(tmp_path / "my.toml").sam
    assert (sam.model, Path(sam.checkpoint).name) == (model, file)
    assert f"`goodsam fetch-weights {model}`" in (tmp_path / "my.toml").read_text()
