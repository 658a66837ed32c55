"""The vision transformer: counts and macs by hand, and what it refuses."""

import pytest
import torch
from torch.nn import functional

from kdsearch.layers import forward_to, layer_names, layer_shapes
from kdsearch.metrics import macs
from kdsearch.mistakes import Mistake
from kdsearch.students import ViT, count_parameters, on_meta
from kdsearch.students.attention import Block, map_of, tokens_of

SMALL = ViT(width=8, depth=2, heads=2, patch=4, mlp_ratio=2)
MNIST = (1, 28, 28)


def test_a_transformer_counted_by_hand():
    patches = (16 * 8 + 8) + 7 * 7 * 8
    block = 2 * (8 + 8) + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 16 + 16) + (16 * 8 + 8)
    assert count_parameters(SMALL.build(MNIST, 10)) == patches + 2 * block + (8 + 8) + (8 * 10 + 10)


def test_the_papers_base_model():
    # Table 1: ViT-Base has 86M weights; here without the class token's 768 and its place, for 1,000 classes
    base = on_meta(ViT(width=768, depth=12, heads=12, patch=16), (3, 224, 224), 1000)
    assert count_parameters(base) == 86_567_656 - 2 * 768


@pytest.mark.parametrize("build", [on_meta, lambda net, shape, classes: net.build(shape, classes)], ids=["meta", "cpu"])
def test_macs_count_attention(build):
    # 49 tokens: each linear layer's weights, and in each of 2 heads queries by keys and weights by values
    linear = 49 * (8 * 24 + 8 * 8 + 8 * 16 + 16 * 8)
    attention = 2 * (49 * 49 * 4) * 2
    assert macs(build(SMALL, MNIST, 10), MNIST) == 49 * 16 * 8 + 2 * (linear + attention) + 8 * 10


def test_features_are_maps_that_convolutional_hints_can_join():
    built = on_meta(SMALL, MNIST, 10)
    assert layer_names(built) == ("patches", "block1", "block2")
    assert set(layer_shapes(built, layer_names(built), MNIST).values()) == {(8, 7, 7)}


def test_a_token_is_where_its_patch_is():
    built = SMALL.build(MNIST, 10).eval()
    image = torch.zeros(1, *MNIST)
    changed = image.clone()
    changed[0, 0, 9, 26] = 1  # row 9 lies in the third patch down, column 26 in the last
    moved = (forward_to(built, "patches", changed) - forward_to(built, "patches", image)).abs().sum((0, 1)) > 0
    assert moved.nonzero().tolist() == [[2, 6]]


def test_tokens_are_a_view_of_a_channels_last_map():
    image = torch.randn(2, 5, 3, 4).to(memory_format=torch.channels_last)
    tokens = tokens_of(image)
    assert tokens.data_ptr() == image.data_ptr()
    assert torch.equal(tokens[0, 5], image[0, :, 1, 1])
    assert torch.equal(map_of(tokens, 3, 4), image)


def test_attention_in_one_head_by_the_formula():
    block = Block(4, 1, 8)
    tokens = torch.randn(2, 6, 4)
    queries, keys, values = block.queries_keys_values(tokens).chunk(3, dim=2)
    expected = block.joined(functional.softmax(queries @ keys.mT / 4**0.5, dim=2) @ values)
    torch.testing.assert_close(block._attention(tokens, None), expected)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"width": 10}, r"width must be a multiple of heads, got width 10 and 4 heads; take a width of 8 or 12"),
        ({"width": 3}, r"width must be a multiple of heads, got width 3 and 4 heads; take a width of 4"),
        ({"heads": 0}, "heads must be a whole number of at least 1, got 0"),
        ({"patch": 0}, "patch must be a whole number of at least 1, got 0"),
        ({"mlp_ratio": 0}, "mlp_ratio must be above 0 and finite, got 0"),
    ],
)
def test_a_transformer_that_cannot_be_is_refused(fields, rule):
    with pytest.raises(Mistake, match=f"ViT: {rule}"):
        ViT(**({"width": 8, "depth": 1} | fields))


def test_a_patch_that_does_not_divide_the_image_is_refused_with_those_that_do():
    with pytest.raises(Mistake, match="images of 28x20 and patch 8; take one of 1, 2, 4"):
        ViT(width=8, depth=1, patch=8).build((1, 28, 20), 10)
