"""The decode head in another order: what it gives is transformers', what it joins does not mix samples."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.segformer import can_be_reordered, classify, join_levels, joining_parameters, segment


@pytest.fixture(scope="module")
def network() -> SegformerForSemanticSegmentation:
    """Of random weights, with statistics of its norm that are not those of a new one."""
    torch.manual_seed(0)
    made = SegformerForSemanticSegmentation(
        SegformerConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 1, 1],
                        decoder_hidden_size=16, id2label={n: str(n) for n in range(5)},
                        label2id={str(n): n for n in range(5)})
    ).eval()  # fmt: skip
    for parameter in made.decode_head.parameters():
        nn.init.normal_(parameter, std=0.3)
    norm = made.decode_head.batch_norm
    assert norm.running_mean is not None and norm.running_var is not None
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return made.requires_grad_(False)


def pixels(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_logits_and_levels_are_those_of_transformers(network: SegformerForSemanticSegmentation) -> None:
    expected = network(pixel_values=pixels(), output_hidden_states=True)
    logits, levels = segment(network, pixels())
    assert logits.shape == (2, 5, 16, 24)
    torch.testing.assert_close(logits, expected.logits, rtol=1e-4, atol=1e-4)
    assert [tuple(level.shape[1:]) for level in levels] == [(8, 16, 24), (8, 8, 12), (16, 4, 6), (16, 2, 3)]
    for level, of_transformers in zip(levels, expected.hidden_states, strict=True):
        assert torch.equal(level, of_transformers)


def test_joining_and_classifying_are_the_two_steps_of_it(network: SegformerForSemanticSegmentation) -> None:
    logits, levels = segment(network, pixels())
    head = network.decode_head
    joined_BDhw = join_levels(head, levels)
    assert joined_BDhw.shape == (2, 16, 16, 24)
    assert torch.equal(classify(head, joined_BDhw), logits)


def test_joining_does_not_mix_samples(network: SegformerForSemanticSegmentation) -> None:
    levels = segment(network, pixels(3))[1]
    apart = [join_levels(network.decode_head, [level[k : k + 1] for level in levels]) for k in range(3)]
    torch.testing.assert_close(torch.cat(apart), join_levels(network.decode_head, levels))


def test_joining_learns_exactly_the_parameters_that_are_named(network: SegformerForSemanticSegmentation) -> None:
    levels = segment(network, pixels())[1]
    head = copy.deepcopy(network.decode_head).requires_grad_(True)
    join_levels(head, levels).square().sum().backward()
    learned = {id(parameter) for parameter in head.parameters() if parameter.grad is not None}
    assert learned == {id(parameter) for parameter in joining_parameters(head)}
    assert len(learned) == 9, "a weight and a bias of each of four levels, and the weight that joins them"


def test_in_training_the_norm_and_dropout_are_the_heads_own(network: SegformerForSemanticSegmentation) -> None:
    levels = segment(network, pixels())[1]
    theirs, ours = (copy.deepcopy(network.decode_head).train() for _ in range(2))
    first, second = (classify(ours, join_levels(ours, levels)) for _ in range(2))
    assert not torch.equal(first, second), "features are dropped at random"
    ours.load_state_dict(theirs.state_dict())
    theirs.dropout.p = ours.dropout.p = 0.0
    torch.testing.assert_close(classify(ours, join_levels(ours, levels)), theirs(levels), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.batch_norm.running_var, theirs.batch_norm.running_var, rtol=1e-4, atol=1e-4)


def test_with_bfloat16_products_of_weights_are_made_in_full_precision(
    network: SegformerForSemanticSegmentation,
) -> None:
    """Rounded once, they are as near to float32 as the head's own way."""
    exact = segment(network, pixels())[0]
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = segment(network, pixels())[0], network(pixel_values=pixels()).logits
    assert ours.dtype == torch.bfloat16
    assert (ours - exact).norm() < 1.2 * (theirs - exact).norm() < 0.1 * exact.norm()


class OwnNetwork(SegformerForSemanticSegmentation):
    """May do anything in its forward pass."""


def test_only_networks_that_are_known_part_by_part_are_reordered(network: SegformerForSemanticSegmentation) -> None:
    assert can_be_reordered(network)
    assert not can_be_reordered(network.segformer) and not can_be_reordered(nn.Conv2d(3, 5, 1))
    assert not can_be_reordered(OwnNetwork(network.config))
    other = copy.deepcopy(network)
    other.decode_head.__class__ = type("OwnHead", (type(other.decode_head),), {})
    assert not can_be_reordered(other)
    renamed = copy.deepcopy(network)
    del renamed.decode_head.linear_fuse
    assert not can_be_reordered(renamed)
