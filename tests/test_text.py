"""Text families: padding means nothing, places mean something, counts by hand."""

import pytest
import torch

from kdsearch.layers import forward_to, layer_names, layer_shapes
from kdsearch.metrics import macs
from kdsearch.mistakes import Mistake
from kdsearch.students import TextConvNet, TextTransformer, count_parameters, on_meta
from kdsearch.students.text import sinusoids

FAMILIES = {
    "conv": TextConvNet(vocabulary=50, width=8, depth=2),
    "transformer": TextTransformer(vocabulary=50, width=8, depth=2, heads=2, mlp_ratio=2),
}
every_family = pytest.mark.parametrize("student", FAMILIES.values(), ids=FAMILIES)
TEXT = torch.tensor([[7, 3, 49, 3, 12, 1]])


def built(student):
    return student.build((6,), 3).eval()


@every_family
def test_logits_do_not_depend_on_how_far_a_text_is_padded(student):
    network = built(student)
    padded = torch.cat([TEXT, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    longer = torch.cat([padded, torch.randint(1, 50, (3, 11))])  # and not on the texts beside it
    torch.testing.assert_close(network(padded), network(TEXT))
    torch.testing.assert_close(network(longer)[:1], network(TEXT))


@every_family
def test_logits_depend_on_every_token_and_its_place(student):
    network = built(student)
    for place in range(6):
        other = TEXT.clone()
        other[0, place] = 30
        assert not torch.allclose(network(other), network(TEXT))
    assert not torch.allclose(network(TEXT.flip(1)), network(TEXT))


@every_family
def test_features_are_maps_and_0_where_padding_is(student):
    network = built(student)
    assert set(layer_shapes(network, layer_names(network), (6,)).values()) == {(8, 1, 6)}
    text = torch.tensor([[7, 3, 9, 0, 0, 0]])
    for layer in layer_names(network):
        feature = forward_to(network, layer, text)[0, :, 0]
        assert feature.abs().sum(0).bool().tolist() == [True, True, True, False, False, False], layer


@every_family
def test_a_text_of_padding_alone_has_logits(student):
    assert built(student)(torch.zeros(2, 6)).isfinite().all()


@every_family
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64, torch.float32])
def test_tokens_of_any_type_are_the_same(student, dtype):
    network = built(student)
    assert torch.equal(network(TEXT.to(dtype)), network(TEXT))


@every_family
@pytest.mark.parametrize("wrong", [50, -1])
def test_a_token_outside_the_vocabulary_is_named(student, wrong):
    text = TEXT.clone()
    text[0, 4] = wrong
    with pytest.raises(Mistake, match=rf"token numbers must be in 0..49, got {text.min()} to {text.max()}; vocabulary"):
        built(student)(text)


@every_family
def test_images_are_refused(student):
    with pytest.raises(Mistake, match=r"needs sequences of token numbers \(L,\), .* \(1, 8, 8\); use ConvNet for imag"):
        student.build((1, 8, 8), 3)


@every_family
def test_padding_is_never_learned(student):
    network = student.build((6,), 3)
    network(torch.tensor([[7, 3, 9, 0, 0, 0]])).sum().backward()
    assert not network.embedding.table.weight[0].any()
    assert not network.embedding.table.weight.grad[0].any()


def test_embeddings_count():
    # the table, one block (layer norm, 3 tokens to 1), the readout's layer norm and linear layer
    conv = TextConvNet(vocabulary=50, width=8, depth=1).build((6,), 3)
    assert count_parameters(conv) == 50 * 8 + (8 + 8) + (3 * 8 * 8 + 8) + (8 + 8) + (8 * 3 + 3)
    transformer = TextTransformer(vocabulary=50, width=8, depth=1, heads=2, mlp_ratio=2).build((6,), 3)
    block = 2 * (8 + 8) + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 16 + 16) + (16 * 8 + 8)
    assert count_parameters(transformer) == 50 * 8 + block + (8 + 8) + (8 * 3 + 3)


def test_macs_by_hand():
    conv = TextConvNet(vocabulary=50, width=8, depth=2, kernel=5)
    assert macs(on_meta(conv, (6,), 3), (6,)) == 2 * (6 * 5 * 8 * 8) + 8 * 3


def test_a_convolution_reaches_half_a_kernel_to_each_side():
    network = built(TextConvNet(vocabulary=50, width=8, depth=1, kernel=3))
    other = TEXT.clone()
    other[0, 2] = 30
    moved = (forward_to(network, "block1", other) - forward_to(network, "block1", TEXT)).abs().sum((0, 1, 2)) > 0
    assert moved.tolist() == [False, True, True, True, False, False]


def test_positions_by_hand():
    # arXiv:1706.03762, section 3.5, for width 4: the rates are 1 and 1/100
    expected = torch.tensor([[0, 0, 1, 1], [0.841471, 0.01, 0.540302, 0.99995]])
    torch.testing.assert_close(sinusoids(2, 4), expected, rtol=1e-5, atol=1e-5)
    assert sinusoids(3, 5).shape == (3, 5)


@pytest.mark.parametrize(
    ("family", "fields", "rule"),
    [
        (TextConvNet, {"kernel": 4}, "kernel must be odd, so that a token stands in its middle, got 4"),
        (TextConvNet, {"vocabulary": 1}, "vocabulary must be a whole number of at least 2, got 1"),
        (TextTransformer, {"vocabulary": None}, "vocabulary must be a whole number of at least 2, got None"),
        (TextTransformer, {"width": 10}, "width must be a multiple of heads, got width 10 and 4 heads"),
    ],
)
def test_a_text_net_that_cannot_be_is_refused(family, fields, rule):
    with pytest.raises(Mistake, match=f"{family.__name__}: {rule}"):
        family(**({"vocabulary": 50, "width": 8, "depth": 1} | fields))
