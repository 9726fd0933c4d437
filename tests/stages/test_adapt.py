"""`goodsam adapt` on tiny panoramas: what it trains, resumes, compares, writes and refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation
from typer.testing import CliRunner

from pipeline.adapt.batches import AdaptSample, Way
from pipeline.adapt.config import AdaptConfig
from pipeline.errors import CacheError, GoodSAMError, InputError, RecipeError
from pipeline.panorama.windows import Window
from pipeline.teacher.config import AssistantConfig
from pipeline.tune.judge import Judgement
from stages import adapt as adapt_stage
from stages import cli
from stages.adapt import adapt, adapt_job
from stages.adapt_comparison import BLEND, WHOLE, Comparison, read_comparison
from stages.adapt_data import split_for_comparison, ways
from stages.adapt_training import AdaptJob, train_assistant
from stages.events import Event, ItemFailed, Note, Scalars, StageAdvanced, silent
from stages.garbage import find_garbage
from stages.products import fingerprints
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import small_run
from tests.student.toy import HEIGHT, TOY, WIDTH, toy_sample

BRIEF: dict[str, object] = {"steps": 3, "batch_size": 1, "held_out": 1, "checkpoint_every": 1, "precision": "float32"}
VIEWS: dict[str, object] = {"level": 2, "down": 0, "up": 0, "nadir": 0, "zenith": 0, "size": 32, "fov": 100.0}

Outcome = tuple[Path, list[adapt_stage.AdaptRound], list[Event]]
"""A folder with a finished round, what it gave, and its events."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Sums are bit for bit the same only with the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network of the toys' classes, and the file of these."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("network")
    SegformerForSemanticSegmentation(
        SegformerConfig(
            depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=16,
            id2label=dict(enumerate(TOY.names)), label2id={name: i for i, name in enumerate(TOY.names)},
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


def read_toy(panorama_id: str) -> AdaptSample:
    if panorama_id == "broken":
        raise CacheError("broken is gone", "it must be there", "Look for it")
    sample = toy_sample(int(panorama_id), levels=())
    return AdaptSample(sample, sample.image_HW3)


def toy_job(folder: Path, network: Path, **changes: Any) -> AdaptJob:
    config = AdaptConfig(steps=6, batch_size=1, learning_rate=1e-3, warmup_steps=1, checkpoint_every=2, log_every=2,
                         precision="float32")  # fmt: skip
    windows = Way("windows", (Window(0, 0, 32, 48), Window(0, 32, 32, 48)), 1.0)
    job = AdaptJob(
        assistants=folder, ids=("0", "1", "2"), read=read_toy, data_fingerprint="toy", label_set=TOY,
        assistant=AssistantConfig(kind="transformers", name=str(network), label_set=str(network / "config.json")),
        ways=(windows, Way("whole", (Window(0, 0, HEIGHT, WIDTH),), 1.0)), adapt=config,
    )  # fmt: skip
    return replace(job, **changes)


def stop_at(step: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.done == step:
            raise KeyboardInterrupt

    return listen


def test_a_killed_training_ends_with_the_weights_that_it_would_have_had(tmp_path: Path, network: Path):
    whole = train_assistant(toy_job(tmp_path / "whole", network), silent)
    job, events = toy_job(tmp_path / "killed", network), list[Event]()
    with pytest.raises(KeyboardInterrupt):
        train_assistant(job, stop_at(5))
    assert not job.folder.is_finished
    resumed = train_assistant(job, events.append)
    assert any(isinstance(event, Note) and event.text == "resuming from step 4 of 6" for event in events)
    expected, found = load_file(whole / "model.safetensors"), load_file(resumed / "model.safetensors")
    start = load_file(network / "model.safetensors")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(not torch.equal(start[name], found[name]) for name in expected)
    again = list[Event]()
    assert train_assistant(job, again.append) == resumed
    assert not any(isinstance(event, StageAdvanced) for event in again)


def test_a_share_of_the_weights_before_is_kept(tmp_path: Path, network: Path):
    job = toy_job(tmp_path, network)
    mixed = replace(job, adapt=replace(job.adapt, share=0.25))
    trained, found, start = (load_file(folder / "model.safetensors") for folder in
                             (train_assistant(job, silent), train_assistant(mixed, silent), network))  # fmt: skip
    for name, weight in found.items():
        between = start[name] + 0.25 * (trained[name] - start[name])
        torch.testing.assert_close(weight, between, check_dtype=weight.is_floating_point())  # counters are integers
    assert any(not torch.equal(found[name], start[name]) for name in found)


def test_each_loss_is_logged_and_consistency_only_where_images_overlap(tmp_path: Path, network: Path):
    job, events = toy_job(tmp_path, network), list[Event]()
    train_assistant(replace(job, adapt=replace(job.adapt, log_every=1, steps=2)), events.append)
    first, second = (event.values.keys() for event in events if isinstance(event, Scalars))
    assert first - second == {"consistency"}
    assert second == {"ensemble", "reliable", "total", "learning_rate"}


def test_an_unreadable_panorama_is_set_aside_and_recorded(tmp_path: Path, network: Path):
    job, events = toy_job(tmp_path, network, ids=("0", "broken")), list[Event]()
    final = train_assistant(job, events.append)
    failures = [event for event in events if isinstance(event, ItemFailed)]
    assert [event.item for event in failures] == ["broken"]
    assert json.loads((final / "adapted.json").read_text())["panoramas_set_aside"].keys() == {"broken"}


def test_the_fingerprint_names_what_decides_the_weights(tmp_path: Path, network: Path):
    job = toy_job(tmp_path, network)
    same = replace(job, adapt=replace(job.adapt, log_every=5, checkpoint_every=9), assistants=tmp_path / "other")
    assert same.fingerprint == job.fingerprint
    moved = shutil.copytree(network, tmp_path / network.name)
    assert replace(job, assistant=replace(job.assistant, name=str(moved))).fingerprint == job.fingerprint
    others = [replace(job, adapt=replace(job.adapt, consistency=0.5)), replace(job, data_fingerprint="other"),
              replace(job, adapt=replace(job.adapt, share=0.5))]  # fmt: skip
    assert len({job.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_a_training_that_diverges_says_which_setting_to_change(tmp_path: Path, network: Path):
    job = toy_job(tmp_path, network)
    with pytest.raises(GoodSAMError, match=r"Lower adapt\.learning_rate"):
        train_assistant(replace(job, adapt=replace(job.adapt, learning_rate=1e30, warmup_steps=0)), silent)


@pytest.fixture(scope="module")
def adapted(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A folder with a finished round, not to be changed, what it gave, and its events."""
    folder, events = shutil.copytree(finished, tmp_path_factory.mktemp("adapted") / "small"), list[Event]()
    return folder, adapt(small_run(folder, adapt=BRIEF), events.append, folder / "small.adapted.toml"), events


def test_a_round_gives_a_network_a_comparison_and_if_it_is_no_worse_a_recipe(
    adapted: Outcome,
):
    folder, (found,), events = adapted
    assert found.comparison is not None and set(found.comparison.adapted) == {BLEND, WHOLE}
    kept = read_comparison(found.network.parent / "comparison.json")
    assert kept is not None and kept.table() == found.comparison.table()
    assert (found.network.parent / "comparison.md").read_text() == f"{kept.table()}\n"
    assert found.is_used == found.comparison.is_better == (folder / "small.adapted.toml").exists()
    assert not list(found.network.parent.glob("parts*"))
    run = small_run(folder, adapt=BRIEF)
    assert run.results.assistants == (found.network.parent.name,)
    assert found.network == run.cache / "assistants" / run.results.assistants[0] / "final"
    assert any("too few to hold some out" in event.text for event in events if isinstance(event, Note))
    assert "adapted" in found.comparison.table() and "score" in found.verdict
    record = json.loads((found.network / "adapted.json").read_text())
    assert record["shown"] == ["windows", "whole"] and record["panoramas"] == 3
    assert "trained further without labels on 3 panoramas" in (found.network / "README.md").read_text()


def test_the_recipe_stands_for_a_run_whose_masks_are_there_already(adapted: Outcome, tmp_path: Path):
    copy = shutil.copytree(adapted[0], tmp_path / "copy")
    run = small_run(copy, adapt=BRIEF)
    recipe = replace(adapted[1][0].recipe, data=run.recipe.data)  # the network stays in the other folder
    assert recipe.assistant.label_set == "densepass13"
    summary = teacher_cache(Run(recipe, run.cache / recipe.name), silent)
    assert summary.products == {"assistant": 4, "ensemble": 4}


def test_a_second_call_trains_and_predicts_nothing(adapted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy, events = shutil.copytree(adapted[0], tmp_path / "copy"), list[Event]()
    monkeypatch.setattr("stages.adapt_comparison.PartLibrary", lambda *_: pytest.fail("predicted again"))
    out = copy / "again.toml"
    for _ in range(2):  # the second time, its own recipe is there
        (again,) = adapt(small_run(copy, adapt=BRIEF), events.append, out)
        assert again.verdict == adapted[1][0].verdict and again.is_used == adapted[1][0].is_used == out.exists()
    assert not any(isinstance(event, StageAdvanced) for event in events)


def scored(score: float) -> dict[str, Judgement]:
    return {BLEND: Judgement(score, score, score, score, 5.0, 0.0, 0.0)}


@pytest.mark.parametrize(("after", "is_used"), [(0.4, False), (0.5, True), (0.6, True)])
def test_a_worse_round_is_told_and_not_used(
    adapted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    after: float, is_used: bool,
):  # fmt: skip
    copy, events = shutil.copytree(adapted[0], tmp_path / "copy"), list[Event]()
    out = copy / "other.toml"
    monkeypatch.setattr(adapt_stage, "compare", lambda *_: Comparison(scored(0.5), scored(after), ("a",)))
    (found,) = adapt(small_run(copy, adapt=BRIEF), events.append, out)
    assert found.is_used == is_used == out.exists()
    told = [event.text for event in events if isinstance(event, Note) and "not used" in event.text]
    assert bool(told) == (not is_used)
    assert is_used or "worse by what needs no label: score 0.4000, before 0.5000, on 1 panorama;" in told[0]


def test_rounds_go_on_from_the_adapted_recipe_until_one_is_worse(
    adapted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scores, asked = iter((0.6, 0.4)), list[str]()
    outcome = adapted[1][0]

    def one_round(run: Run, _: object, out: Path, **__: object) -> adapt_stage.AdaptRound:
        asked.append(f"adapt {run.recipe.name} {out.name}")
        is_used = next(scores) > 0.5
        return adapt_stage.AdaptRound(
            outcome.network, replace(outcome.recipe, name="small-adapted"), None, out if is_used else None
        )

    monkeypatch.setattr(adapt_stage, "adapt_once", one_round)
    monkeypatch.setattr(adapt_stage, "teacher_cache", lambda run, *_, **__: asked.append(f"cache {run.recipe.name}"))
    found = adapt(small_run(adapted[0]), silent, tmp_path / "small.adapted.toml", rounds=3)
    assert [round_.is_used for round_ in found] == [True, False]
    assert asked == ["cache small", "adapt small small.adapted.toml",
                     "cache small-adapted", "adapt small-adapted small.adapted-2.toml"]  # fmt: skip


def test_without_a_teacher_cache_it_says_what_makes_one(finished: Path, tmp_path: Path):
    shutil.copytree(finished / "photos", tmp_path / "photos")
    shutil.copy(finished / "small.toml", tmp_path)
    with pytest.raises(CacheError, match="Run `goodsam teacher-cache` first"):
        adapt(small_run(tmp_path), silent, tmp_path / "out.toml")


def test_a_recipe_that_is_there_is_not_overwritten_and_nothing_is_trained(own_finished: Path):
    out = own_finished / "small.toml"
    with pytest.raises(InputError, match="exists"):
        adapt(small_run(own_finished, adapt=BRIEF), silent, out)
    assert not (own_finished / "cache" / "assistants").exists()


def test_an_onnx_assistant_is_refused_before_anything_is_read(tmp_path: Path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[assistant]\nkind = "onnx"\nname = "net.onnx"\n')
    result = CliRunner().invoke(cli.app, ["adapt", str(recipe)])
    assert isinstance(result.exception, RecipeError)
    assert "net.onnx, an ONNX file" in str(result.exception)
    assert not (tmp_path / "cache").exists()


def test_settings_of_adapting_change_no_product(finished: Path):
    changed: dict[str, object] = {"steps": 7, "consistency": 0.0, "class_balance": 0.5}
    assert fingerprints(small_run(finished, adapt=changed).recipe) == fingerprints(small_run(finished).recipe)


def test_panoramas_to_compare_on_are_not_learned_from(finished: Path):
    run = small_run(finished)
    panoramas = learning_panoramas(run.recipe)
    cached = RunReader.open(run, panoramas)
    many = [replace(panorama, id=f"{panorama.id}-{copy}") for copy in range(4) for panorama in panoramas]
    records = {p.id: replace(cached.records[p.id.rpartition("-")[0]], sha256=p.id) for p in many}
    twin = replace(many[0], id="twin")
    of_many = replace(cached, paths={p.id: p.path for p in [*many, twin]},
                      records={**records, "twin": records[many[0].id]})  # fmt: skip
    learned, held_out = split_for_comparison([*many, twin], of_many, 10)
    assert len(held_out) == 3 and not {p.id for p in held_out} & {p.id for p in learned}
    assert many[0] in held_out and twin not in learned  # of equal content
    assert split_for_comparison(panoramas, cached, 0) == (panoramas, [])
    assert split_for_comparison(panoramas, cached, 2) == (panoramas, [panoramas[0], panoramas[1]])


def test_the_assistant_is_shown_what_stage_one_shows_it(finished: Path):
    shown = ways(small_run(finished, assistant={"views_weight": 0.5, "window_scale": 2.0}, views=VIEWS).recipe)
    assert [(way.name, len(way.views), way.scale, way.from_source) for way in shown] == [
        ("windows", 2, 2.0, False), ("views", 2, 1.0, True), ("whole", 1, 1.0, False)]  # fmt: skip
    assert [way.name for way in ways(small_run(finished).recipe)] == ["windows", "whole"]


def test_views_are_cut_from_the_larger_picture(finished: Path):
    """The pictures are no larger than the working size: they stay as they are."""
    run = small_run(finished, assistant={"views_weight": 0.5}, views={**VIEWS, "source_width": 256})
    reader = RunReader.open(small_run(finished), learning_panoramas(run.recipe))
    job = adapt_job(run, replace(reader, recipe=run.recipe))
    sample = job.read(reader.ids[0])
    assert sample.source_HW3.shape == sample.learned.image_HW3.shape == (64, 128, 3)


def test_assistants_that_a_run_made_or_uses_are_no_garbage(adapted: Outcome, tmp_path: Path):
    copy = shutil.copytree(adapted[0], tmp_path / "copy")
    assert find_garbage(copy / "cache") == []
    user, name = copy / "cache" / "user", adapted[1][0].network.parent.name
    shutil.copytree(copy / "cache" / "small", user)
    (user / "results.json").unlink()
    shutil.rmtree(copy / "cache" / "small")
    assert [garbage.reason for garbage in find_garbage(copy / "cache")] == ["one of assistants that no run has"]
    path = copy / "cache" / "assistants" / name / "final"
    (user / "recipe.toml").write_text(f'[assistant]\nname = "{path}"\n')
    assert find_garbage(copy / "cache") == []
