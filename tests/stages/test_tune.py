"""`goodsam tune` on tiny panoramas: what it writes, resumes, refuses, and how long it takes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cache.schema import MASKS
from pipeline.cache.store import TeacherStore
from pipeline.errors import CacheError, GoodSAMError, InputError
from pipeline.recipe import load_recipe
from pipeline.tune.blends import blend_of
from pipeline.tune.parts import Part
from pipeline.tune.sureness import Sureness, sureness
from stages import cli, networks, tune_parts
from stages.events import Event, ItemFailed, Note, silent
from stages.garbage import remove_garbage
from stages.products import fingerprints
from stages.runs import Run
from stages.tune import Budget, TuneResult, spread, tune
from tests.stages.small_run import make_folders, small_run

VIEWS: dict[str, object] = {"level": 2, "down": 2, "up": 2, "nadir": 1, "zenith": 1, "size": 32}


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that is ahead by so much each time it is asked."""
    times: Iterator[float] = count(0.0, seconds)
    return lambda: next(times)


@pytest.fixture(scope="module", autouse=True)
def views_are_known() -> Iterator[None]:
    """No group of views is left out: the demo's assistant is not sure of views as small as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.tune.sureness", lambda *_: Sureness({}, {}))
        yield


def briefly(run: Run, out: Path) -> TuneResult:
    """A search on two panoramas that ends after its first round."""
    return tune(run, silent, out, panoramas=2, minutes=0.1, clock=ticking(0.5))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TuneResult]:
    """A folder with a finished search, not to be changed."""
    folder = tmp_path_factory.mktemp("tuned")
    make_folders(folder)
    return folder, briefly(small_run(folder, views=VIEWS), folder / "small.tuned.toml")


@pytest.fixture
def copied(tuned: tuple[Path, TuneResult], tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(tuned[0], tmp_path / "copy")
    return tmp_path / "copy"


def refuse_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(tune_parts, "predict_part", refuse)
    monkeypatch.setattr(networks, "load_mask_source", refuse)


def test_the_recipe_that_is_written_asks_for_the_choice(tuned: tuple[Path, TuneResult]) -> None:
    folder, result = tuned
    written = load_recipe(folder / "small.tuned.toml")
    assert written == result.recipe
    assert blend_of(written.assistant, written.views) == result.best
    assert written.name == "small-tuned"
    before = small_run(folder, views=VIEWS).recipe
    assert (written.sam, written.windows, written.data) == (before.sam, before.windows, before.data)
    assert (folder / "small.tuned.toml").read_text().startswith("# Written by `goodsam tune`: ")


def test_the_choice_is_the_best_of_what_was_judged_on_every_panorama(tuned: tuple[Path, TuneResult]) -> None:
    folder, result = tuned
    assert len(result.trials) >= 20 and {len(trial.judgements) for trial in result.trials.values()} == {2}
    assert result.trials[result.best].mean.score == max(
        trial.mean.score for blend, trial in result.trials.items() if blend not in result.collapsed
    )
    assert result.current in result.trials
    assert result.text() in (folder / "cache/small/tune/table.md").read_text()
    assert all(trial.seconds > 0 for trial in result.trials.values())


def test_views_of_which_the_assistant_is_less_sure_than_of_the_whole_image_have_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folders(tmp_path)
    predict = tune_parts.predict_part

    def unsure_above(part: Part, *arguments: object) -> object:
        said = predict(part, *arguments)  # type: ignore[arg-type]
        if part.kind != "up":
            return said
        return said._replace(probabilities_CHW=said.probabilities_CHW * 0.1 + 0.9 / len(said.probabilities_CHW))

    monkeypatch.setattr(tune_parts, "predict_part", unsure_above)
    monkeypatch.setattr("stages.tune.sureness", sureness)
    result = briefly(small_run(tmp_path, views=VIEWS), tmp_path / "out.toml")
    assert result.groups["up"].is_less_sure and "up" not in result.best.groups
    assert "| up | 0." in result.text() and "left out" in result.text()
    assert not any("up" in blend.groups for blend in result.trials if blend != result.current)


def test_a_band_of_which_some_of_a_recipes_views_see_nothing_is_tuned(tmp_path: Path) -> None:
    make_folders(tmp_path)
    for path in (tmp_path / "photos").iterdir():
        with Image.open(path) as picture:
            band = picture.crop((0, 19, 128, 44))
        band.save(path)
    run = small_run(tmp_path, views=VIEWS, assistant={"views_weight": 0.5}, panorama={"vertical_fov": 70.3})
    result = tune(run, silent, tmp_path / "out.toml", panoramas=1, minutes=0)
    assert result.current.groups == ("level", "down", "up") and result.current in result.trials


def test_a_search_that_is_run_again_computes_nothing_and_chooses_the_same(
    copied: Path, tuned: tuple[Path, TuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_compute(monkeypatch)
    monkeypatch.setattr(tune_parts.PartLibrary, "read", None)
    again = briefly(small_run(copied, views=VIEWS), copied / "again.toml")
    assert (again.best, again.trials.keys()) == (tuned[1].best, tuned[1].trials.keys())


@pytest.mark.slow
def test_a_killed_search_keeps_what_was_predicted_and_judged(
    tmp_path: Path, tuned: tuple[Path, TuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folders(tmp_path)
    run, calls = small_run(tmp_path, views=VIEWS), count()
    predict = tune_parts.predict_part

    def killed_at_the_eleventh(*arguments: object) -> object:
        if next(calls) == 10:
            raise KeyboardInterrupt
        return predict(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tune_parts, "predict_part", killed_at_the_eleventh)
    with pytest.raises(KeyboardInterrupt):
        briefly(run, tmp_path / "out.toml")
    assert not (tmp_path / "out.toml").exists()
    result = briefly(run, tmp_path / "out.toml")
    # 7 parts, straight and rolled, of 2 panoramas; the eleventh call of the first attempt came to nothing.
    assert next(calls) == 7 * 2 * 2 + 1
    assert result.best == tuned[1].best
    judgements = run.folder / "tune" / "judgements.jsonl"
    lines = judgements.read_text().splitlines()
    judgements.write_text("\n".join(lines[:5]) + "\n" + lines[5][:40])  # killed while it was writing
    refuse_to_compute(monkeypatch)
    assert briefly(run, tmp_path / "again.toml").best == result.best
    assert len(judgements.read_text().splitlines()) == len(lines) + 1


@pytest.mark.slow
def test_where_there_is_time_other_scales_and_fields_of_view_are_tried(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted: list[Part] = []
    predict = tune_parts.predict_part

    def watched(part: Part, *arguments: object) -> object:
        predicted.append(part)
        return predict(part, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tune_parts, "predict_part", watched)
    result = tune(small_run(copied, views=VIEWS), silent, copied / "again.toml", panoramas=1)
    varied = [blend for blend in result.trials if blend.window_scale or blend.fov]
    assert varied and {(part.scale, part.views.fov if part.views else 0) for part in predicted} == {
        (blend.window_scale, 0) if blend.window_scale else (1, blend.fov) for blend in varied
    }
    best = load_recipe(copied / "again.toml")
    assert best.assistant.window_scale == (result.best.window_scale or 1.0)
    assert best.views.fov == (result.best.fov or 75.0)


def test_masks_are_shared_with_stage_one(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    run = small_run(tmp_path / "copy", views=VIEWS)
    monkeypatch.setattr(networks, "load_mask_source", lambda *_: pytest.fail("SAM was asked again"))
    networks.mask_source.forget()
    assert tune(run, silent, tmp_path / "out.toml", panoramas=1, minutes=0).trials


def test_masks_that_are_found_are_kept_for_stage_one(tuned: tuple[Path, TuneResult]) -> None:
    run = small_run(tuned[0], views=VIEWS)
    assert len(TeacherStore.open(run.store, "r").ids(MASKS, fingerprints(run.recipe)[MASKS])) == 2


def test_the_time_bounds_panoramas_and_blends_and_one_panorama_is_always_done(tmp_path: Path) -> None:
    make_folders(tmp_path)
    heard: list[Event] = []
    run = small_run(tmp_path, views=VIEWS)
    result = tune(run, heard.append, tmp_path / "out.toml", minutes=0, panoramas=3, clock=ticking(1))
    notes = " ".join(event.text for event in heard if isinstance(event, Note))
    assert "the time allows for 1 of 3 panoramas" in notes and "the time is over" in notes
    assert len(result.trials) == 8 and {len(trial.judgements) for trial in result.trials.values()} == {1}


def test_no_panorama_is_begun_that_would_take_too_long() -> None:
    budget = Budget(minutes=1, clock=ticking(20))
    assert budget.has_room_for(40) and not budget.has_room_for(30)


def test_a_file_that_is_there_is_not_overwritten_without_being_asked(copied: Path) -> None:
    run, out = small_run(copied, views=VIEWS), copied / "small.tuned.toml"
    out.write_text("mine = true\n")
    with pytest.raises(InputError, match=r"overwritten only with --overwrite.*--overwrite"):
        tune(run, silent, out, panoramas=2)
    assert out.read_text() == "mine = true\n"
    tune(run, silent, out, panoramas=1, minutes=0, overwrite=True)
    assert load_recipe(out).name == "small-tuned"


def test_a_file_that_cannot_be_written_is_refused_before_the_search(copied: Path) -> None:
    (copied / "file").touch()
    heard: list[Event] = []
    with pytest.raises(CacheError, match=r"file/out\.toml cannot be written \(Not a directory\)"):
        tune(small_run(copied, views=VIEWS), heard.append, copied / "file" / "out.toml")
    assert not heard


def test_gc_leaves_what_a_search_has_while_its_folder_is_there(copied: Path) -> None:
    run = small_run(copied, views=VIEWS)
    run.record_recipe()
    (run.folder / "report-maps").mkdir()
    assert remove_garbage(run.cache) == []
    assert len(TeacherStore.open(run.store, "r").ids(MASKS, fingerprints(run.recipe)[MASKS])) == 2
    shutil.rmtree(run.folder / "tune")
    assert [garbage.reason for garbage in remove_garbage(run.cache)] == ["masks of settings that no run has now"]


@pytest.mark.slow
def test_an_unusable_panorama_is_set_aside_and_the_others_decide(tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / "photos" / "1.png").write_bytes(b"no picture")
    heard: list[Event] = []
    run = small_run(tmp_path, views=VIEWS)
    result = tune(run, heard.append, tmp_path / "out.toml", panoramas=3, minutes=1, clock=ticking(0.5))
    assert [event.item for event in heard if isinstance(event, ItemFailed)] == ["panoramas/1"]
    assert {len(trial.judgements) for trial in result.trials.values()} == {2}


def test_without_a_usable_panorama_there_is_one_error(tmp_path: Path) -> None:
    make_folders(tmp_path)
    for path in (tmp_path / "photos").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="none of 3 panoramas could be used"):
        tune(small_run(tmp_path), silent, tmp_path / "out.toml")


def test_an_assistant_that_knows_one_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folders(tmp_path)
    predict = tune_parts.predict_part

    def one_class(*arguments: object) -> object:
        said = predict(*arguments)  # type: ignore[arg-type]
        certain = np.zeros_like(said.probabilities_CHW)
        certain[3] = 1
        return said._replace(probabilities_CHW=certain)

    monkeypatch.setattr(tune_parts, "predict_part", one_class)
    with pytest.raises(GoodSAMError, match="more than one class"):
        tune(small_run(tmp_path, views=VIEWS), silent, tmp_path / "out.toml", panoramas=1)
    assert not (tmp_path / "out.toml").exists()


def test_another_ignore_mask_is_judged_anew_from_the_same_predictions(
    copied: Path, tuned: tuple[Path, TuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((64, 128), np.uint8)
    mask[32:] = 255
    Image.fromarray(mask).save(copied / "rig.png")
    refuse_to_compute(monkeypatch)
    run = small_run(copied, views=VIEWS, panorama={"ignore_mask": str(copied / "rig.png")})
    masked = briefly(run, copied / "masked.toml")
    assert masked.trials[masked.current].mean != tuned[1].trials[tuned[1].current].mean


def test_panoramas_are_spread_over_the_folder_and_more_of_them_include_the_fewer() -> None:
    assert spread(range(40), 4) == [0, 20, 10, 30] == spread(range(40), 6)[:4]
    assert spread(range(1), 3) == [0]
    for size in range(1, 20):
        assert sorted(spread(range(size), 30)) == [*range(size)]


def run_cli(arguments: Sequence[str]) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, list(arguments), env={"NO_COLOR": "1", "TERM": "dumb"})
    return result.exit_code, f"{result.output}{result.exception or ''}"


@pytest.mark.slow
def test_the_command_prints_the_table_and_writes_beside_the_recipe(copied: Path) -> None:
    recipe = copied / "small.toml"
    (copied / "small.tuned.toml").unlink()
    options = [part for key, value in VIEWS.items() for part in ("--set", f"views.{key}={value}")]
    code, printed = run_cli(["tune", str(recipe), "--panoramas", "2", "--device", "cpu", *options])
    assert code == 0, printed
    assert "(recipe)" in printed and "| score |" in printed and "chosen: " in printed
    assert load_recipe(copied / "small.tuned.toml").name == "small-tuned"
    code, printed = run_cli(["tune", str(recipe)])
    assert code == 1 and "small.tuned.toml already exists" in printed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "tuned.txt"], "the name of a recipe ends with .toml"),
        (["--panoramas", "0"], "--panoramas"),
        (["--minutes", "-1"], "--minutes"),
        (["--set", "data.panoramas=nowhere"], "nowhere does not exist"),
    ],
)
def test_wrong_options_are_reported(tmp_path: Path, options: list[str], told: str) -> None:
    make_folders(tmp_path)
    code, printed = run_cli(["tune", str(tmp_path / "small.toml"), *options])
    assert code != 0 and told in printed
