"""Networks of transformers: where they are looked for, and what identifies them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import WeightsError
from pipeline.pretrained import find_network, network_digest, quiet, settings_file


def test_a_folder_is_found_as_it_is(tmp_path: Path) -> None:
    assert find_network(str(tmp_path), "student.weights") == tmp_path


@pytest.mark.parametrize("name", ["./not_there", "/not/there", "a/b/c"])
def test_what_can_only_be_a_folder_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(WeightsError, match=r"is not a folder; student\.weights is a folder or a name on"):
        find_network(name, "student.weights")


def test_a_file_is_no_folder_of_a_network(tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    with pytest.raises(WeightsError, match="is not a folder"):
        find_network(str(tmp_path / "weights"), "assistant.name")


def test_the_digest_follows_settings_and_weights_but_neither_place_nor_other_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
            (folder / name).write_text(name)
    (second / "README.md").write_text("about")
    assert network_digest(first) == network_digest(second)
    digests = {network_digest(first)}
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (first / name).write_text("changed")
        digests.add(network_digest(first))
    assert len(digests) == 4


def test_the_first_file_of_settings_counts(tmp_path: Path) -> None:
    assert settings_file(tmp_path) is None
    (tmp_path / "processor_config.json").touch()
    assert settings_file(tmp_path) == tmp_path / "processor_config.json"
    (tmp_path / "preprocessor_config.json").touch()
    assert settings_file(tmp_path) == tmp_path / "preprocessor_config.json"


def test_transformers_is_as_verbose_as_before_after_loading_quietly() -> None:
    from transformers.utils import logging

    info = 20
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    try:
        with pytest.raises(KeyError), quiet():
            assert logging.get_verbosity() > info and not logging.is_progress_bar_enabled()
            raise KeyError
        assert logging.get_verbosity() == info and logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
