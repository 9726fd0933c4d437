"""Cards of data sets and adapted assistants: what they say, and what they leave to whoever shares them."""

from __future__ import annotations

from pipeline.classes import DENSEPASS_13
from stages.cards import FILL_IN, adapted_card, class_table, dataset_card, loss_table


def test_a_class_has_its_id_name_and_colour() -> None:
    lines = class_table(DENSEPASS_13).splitlines()
    assert lines[2] == "| 0 | road | #804080 |"
    assert len(lines) == 2 + len(DENSEPASS_13)


def test_losses_stand_below_each_other() -> None:
    assert loss_table({"ensemble": 0.5, "boundary": 1.25}).splitlines()[2:] == ["| ensemble | 0.5000 |",
                                                                               "| boundary | 1.2500 |"]  # fmt: skip


def test_the_card_of_a_data_set_counts_its_panoramas_and_leaves_rights_open() -> None:
    one, many = dataset_card("street", DENSEPASS_13, 1), dataset_card("street", DENSEPASS_13, 1200)
    assert "1 panorama with semantic labels" in one and "1,200 panoramas with semantic labels" in many
    assert "pretty_name: street" in many and class_table(DENSEPASS_13) in many
    assert many.lower().count(FILL_IN) == 2


def test_the_card_of_an_adapted_assistant_says_how_to_use_it() -> None:
    record = {
        "fingerprint": "abc", "adapted_from": "nvidia/segformer", "panoramas": 1500, "shown": ["windows", "views"],
        "label_set": "cityscapes19", "steps": 200, "torch": "2.9", "losses": {"ensemble": 0.5},
        "settings": {"batch_size": 2, "learning_rate": 1e-5, "seed": 3},
    }  # fmt: skip
    card = adapted_card(record)
    assert 'assistant.label_set = "cityscapes19"' in card
    assert "nvidia/segformer, trained further without labels on 1,500 panoramas" in card
    assert "200 steps of 2 panoramas, learning rate 1e-05, seed 3" in card and "windows, views" in card
