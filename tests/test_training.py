"""The optimization loop: rates worked by hand, and training that resumes to the bit."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from kdsearch.files import load_tensors, save_tensors
from kdsearch.losses import hard_labels
from kdsearch.mistakes import Mistake
from kdsearch.plain import as_json
from kdsearch.training import DivergedError, Optim, TrainState, fit, pack_state, unpack_state

EXAMPLES = 45
INPUTS = torch.randn(EXAMPLES, 2, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(EXAMPLES) % 3


def network(channels_last: bool = False) -> nn.Module:
    """A net with all that could go wrong in resuming: batch norm, dropout, maps with several channels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(5, 4, 3), nn.Flatten(),
            nn.Linear(16, 3),
        )  # fmt: skip
    return module.to(memory_format=torch.channels_last) if channels_last else module


def train(module: nn.Module, optim: Optim, upto: int = 6, state: TrainState | None = None, **options) -> TrainState:
    def loss(index: Tensor, _epoch: int) -> dict[str, Tensor]:
        return {"loss": functional.cross_entropy(module(INPUTS[index]), LABELS[index])}

    arguments = {"examples": EXAMPLES, "epochs": 6, "seed": 7, "stage": "some", "loss": loss} | options
    return fit(module, arguments.pop("loss"), optim=optim, upto=upto, state=state, **arguments)


def same(one: TrainState, other: TrainState) -> bool:
    ours, theirs = pack_state(one), pack_state(other)
    return ours[1] == theirs[1] and ours[0].keys() == theirs[0].keys() and all(
        torch.equal(ours[0][name], theirs[0][name]) for name in ours[0]
    )  # fmt: skip


OPTIMS = {
    "adam": Optim(name="adam", lr=0.01, batch_size=10),
    "adam with decay": Optim(name="adam", lr=0.01, batch_size=10, weight_decay=0.1, warmup_epochs=2.5),
    "adamw": Optim(name="adamw", lr=0.01, batch_size=10, weight_decay=0.1, schedule="linear"),
    "sgd": Optim(name="sgd", lr=0.1, batch_size=10, schedule="step"),
    "sgd without momentum": Optim(name="sgd", lr=0.1, batch_size=10, momentum=0.0),
}
every_optim = pytest.mark.parametrize("optim", OPTIMS.values(), ids=OPTIMS.keys())


@every_optim
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_training_in_pieces_gives_the_same_bits(optim, channels_last, tmp_path):
    whole = train(network(channels_last), optim)
    for cuts in ([4], [1, 2, 3, 4, 5]):
        state = None
        for upto in [*cuts, 6]:
            # in a file as well, from which every tensor comes back contiguous
            if state is not None:
                save_tensors(tmp_path / "state.safetensors", *pack_state(state))
                state = unpack_state(*load_tensors(tmp_path / "state.safetensors"))
            state = train(network(channels_last), optim, upto, state)
        assert same(state, whole)


@every_optim
def test_a_state_in_memory_goes_on_to_the_same_bits(optim):
    whole, half = train(network(True), optim), train(network(True), optim, upto=3)
    assert same(train(network(True), optim, 6, half), whole)
    assert same(train(network(True), optim, 6, half), whole)  # the state itself was not trained on


@every_optim
def test_weights_in_channels_last_are_trained_like_contiguous_ones(optim):
    modules = network(), network(True)
    for module in modules:
        module[3] = nn.Identity()  # dropout draws in the order of the memory
        module[0].bias = None  # batch norm cancels it: all its gradient is rounding, which Adam would enlarge
        half = train(module, optim, upto=1)
        train(module, optim, upto=2, state=half)
    for ours, theirs in zip(modules[0].parameters(), modules[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_state_is_a_copy_of_what_was_trained():
    module = network()
    state = train(module, OPTIMS["adam"], upto=1)
    kept = {name: tensor.clone() for name, tensor in state.module.items()}
    train(module, OPTIMS["adam"], upto=2, state=state)
    assert all(torch.equal(kept[name], tensor) for name, tensor in state.module.items())
    assert not torch.equal(kept["0.weight"], module[0].weight)


def test_nothing_is_trained_when_the_state_is_there_already():
    state = train(network(), OPTIMS["adam"])
    assert same(train(network(), OPTIMS["adam"], 6, state), state)


def test_the_callers_generator_is_left_alone_and_does_not_matter():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(network(), OPTIMS["adam"], upto=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(train(network(), OPTIMS["adam"], upto=2), first)


def test_the_generator_is_left_alone_when_training_diverges():
    before = torch.get_rng_state()
    with pytest.raises(DivergedError):
        train(network(), OPTIMS["sgd"], loss=lambda index, _epoch: {"loss": torch.tensor(math.nan, requires_grad=True)})
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_gives_other_weights():
    first, other = train(network(), OPTIMS["adam"], upto=1), train(network(), OPTIMS["adam"], upto=1, seed=8)
    assert not same(first, other)


def orders(examples: int, batch_size: int, epochs: int = 2, seed: int = 7) -> list[list[list[int]]]:
    """The indices of each batch of each epoch."""
    module, seen = nn.Linear(1, 1), []

    def loss(index: Tensor, _epoch: int) -> dict[str, Tensor]:
        seen[-1].append(index.tolist())
        return {"loss": module.weight.sum()}

    def on_epoch(line) -> bool:
        seen.append([])
        return False

    seen.append([])
    fit(module, loss, optim=Optim(batch_size=batch_size), examples=examples, epochs=epochs, upto=epochs, seed=seed,
        stage="some", on_epoch=on_epoch)  # fmt: skip
    return seen[:-1]


@given(examples=st.integers(2, 60), batch_size=st.integers(2, 20))
def test_every_example_occurs_once_an_epoch_and_no_batch_holds_one(examples, batch_size):
    for batches in orders(examples, batch_size):
        assert sorted(index for batch in batches for index in batch) == list(range(examples))
        assert all(len(batch) >= 2 for batch in batches)
        assert all(len(batch) == batch_size for batch in batches[:-1])


def test_a_last_batch_of_one_joins_its_neighbour():
    assert [len(batch) for batch in orders(41, 20, epochs=1)[0]] == [20, 21]
    assert [len(batch) for batch in orders(42, 20, epochs=1)[0]] == [20, 20, 2]


def test_each_epoch_and_each_seed_has_its_own_order():
    (first, second), (other, _) = orders(40, 20), orders(40, 20, seed=8)
    assert first != second
    assert first != other
    assert orders(40, 20)[0] == first


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        ("constant", 0, 1), ("constant", 9.9, 1),
        ("cosine", 0, 1), ("cosine", 2.5, 0.5 + math.sqrt(0.5) / 2), ("cosine", 5, 0.5), ("cosine", 10, 0),
        ("linear", 0, 1), ("linear", 2.5, 0.75), ("linear", 10, 0),
        ("step", 0, 1), ("step", 4.99, 1), ("step", 5, 0.1), ("step", 7.49, 0.1), ("step", 7.5, 0.01),
    ],
)  # fmt: skip
def test_rates_by_hand(schedule, epoch, expected):
    assert Optim(lr=0.3, schedule=schedule).lr_at(epoch, 10) == pytest.approx(0.3 * expected, abs=1e-12)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0), (1, 0.5), (1.5, 0.75), (2, 1), (6, 0.5), (10, 0)])
def test_rates_rise_linearly_while_warming_up_and_then_follow_the_schedule(epoch, expected):
    assert Optim(lr=1, schedule="linear", warmup_epochs=2).lr_at(epoch, 10) == pytest.approx(expected)


def test_a_warmup_as_long_as_the_stage_has_no_rate_above_the_peak():
    assert Optim(lr=1, warmup_epochs=3).lr_at(2.9, 3) == pytest.approx(2.9 / 3)


def test_the_rate_moves_within_an_epoch():
    lines = []
    # five batches: the last of each epoch begins at four fifths of it
    train(network(), Optim(lr=1e-3, batch_size=9, schedule="linear"), upto=2, on_epoch=lambda line: lines.append(line))
    assert [line["lr"] for line in lines] == pytest.approx([1e-3 * (1 - 0.8 / 6), 1e-3 * (1 - 1.8 / 6)])


def test_sgd_takes_the_step_of_the_textbook():
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(1.0)
    optim = Optim(name="sgd", lr=0.1, momentum=0.5, schedule="constant", batch_size=2, weight_decay=0.0)
    fit(
        module,
        lambda index, _epoch: {"loss": module.weight.sum()},
        optim=optim,
        examples=4,
        epochs=1,
        upto=1,
        seed=0,
        stage="s",
    )
    # gradient 1 twice: 1 - 0.1 * 1 - 0.1 * (0.5 * 1 + 1)
    assert module.weight.item() == pytest.approx(0.75)


def test_a_line_has_the_mean_of_each_term_over_the_examples():
    lines, module = [], nn.Linear(1, 1)

    def loss(index: Tensor, _epoch: int) -> dict[str, Tensor]:
        return {"loss": module.weight.sum() * 0 + index.float().mean(), "first": (index == 0).float().mean()}

    fit(module, loss, optim=Optim(batch_size=4), examples=10, epochs=1, upto=1, seed=0, stage="some",
        on_epoch=lambda line: lines.append(line))  # fmt: skip
    assert lines[0]["loss"] == pytest.approx(4.5)  # of 0 to 9, though the batches are of 4, 4 and 2
    assert lines[0]["first"] == pytest.approx(0.1)
    assert lines[0]["stage"] == "some"
    assert lines[0]["epoch"] == 1
    assert lines[0]["seconds"] >= 0


def test_evaluation_runs_in_evaluation_mode_without_gradients():
    module, seen, lines = network(), [], []

    def evaluate() -> dict[str, float]:
        seen.append((module.training, torch.is_grad_enabled()))
        return {"validation_accuracy": 0.5}

    with_it = train(module, OPTIMS["adam"], upto=2, evaluate=evaluate, on_epoch=lambda line: lines.append(line))
    assert seen == [(False, False)] * 2
    assert [line["validation_accuracy"] for line in lines] == [0.5, 0.5]
    assert same(with_it, train(network(), OPTIMS["adam"], upto=2))


def test_a_callback_that_returns_true_ends_the_call_and_going_on_gives_the_same_bits():
    stopped = train(network(), OPTIMS["adam"], on_epoch=lambda line: line["epoch"] == 2)
    assert stopped.epoch == 2
    assert same(train(network(), OPTIMS["adam"], state=stopped), train(network(), OPTIMS["adam"]))


def test_an_absurd_rate_diverges_with_stage_and_epoch():
    with pytest.raises(DivergedError, match=r"the loss of stage 'hints' was not finite in its epoch 1; lower the lr"):
        train(network(), Optim(name="sgd", lr=1e30, batch_size=10), stage="hints")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_the_epoch_in_which_it_came(bad):
    module, calls = nn.Linear(1, 1), []

    def loss(index: Tensor, _epoch: int) -> dict[str, Tensor]:
        calls.append(index)
        return {"loss": module.weight.sum() * (bad if len(calls) == 5 else 1.0)}  # the first batch of the third epoch

    with pytest.raises(DivergedError) as found:
        train(module, Optim(batch_size=30), loss=loss, stage="distil")
    assert (found.value.stage, found.value.epoch) == ("distil", 3)


def test_packing_a_state_loses_nothing():
    state = train(network(), OPTIMS["adam"], upto=2)
    again = unpack_state(*pack_state(state))
    assert same(again, state)
    assert again.epoch == 2
    assert set(again.optimizer) == set(range(8))
    assert set(again.optimizer[0]) == {"step", "exp_avg", "exp_avg_sq"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "rmsprop"}, "optim must be one of adam, adamw, sgd, got 'rmsprop'"),
        ({"schedule": "poly"}, "schedule must be one of constant, cosine, linear, step, got 'poly'"),
        ({"lr": 0}, "lr must be above 0 and finite, got 0"),
        ({"lr": math.inf}, "lr must be above 0 and finite, got inf"),
        ({"lr": math.nan}, "lr must be above 0 and finite, got nan"),
        ({"lr": "0.1"}, "lr must be above 0 and finite, got '0.1'"),
        ({"lr": None}, "lr must be above 0 and finite, got None"),
        ({"lr": True}, "lr must be above 0 and finite, got True"),
        ({"momentum": "0.9"}, r"momentum must be in \[0, 1\), got '0.9'"),
        ({"weight_decay": None}, "must not be negative, got None, 0.0"),
        ({"weight_decay": math.nan}, "must not be negative, got nan, 0.0"),
        ({"warmup_epochs": "1"}, "must not be negative, got 0.0, '1'"),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2 .*batch norm.*, got 1"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 2 .* got 2.5"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -1}, "must not be negative, got -1"),
        ({"warmup_epochs": -1}, "must not be negative, got 0.0, -1"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    with pytest.raises(Mistake, match=said):
        Optim(**wrong)


def test_bf16_trains_close_to_single_precision_and_keeps_weights_in_it():
    found = {}
    for precision in ("fp32", "bf16"):
        net = network()

        def loss(index_B: Tensor, epoch: int, net: nn.Module = net) -> dict[str, Tensor]:
            return {"loss": hard_labels(net(INPUTS[index_B]), LABELS[index_B])}

        optim = Optim(precision=precision, batch_size=9)
        state = fit(net, loss, optim=optim, examples=EXAMPLES, epochs=3, upto=3, seed=1, stage="s")
        assert all(t.dtype == torch.float32 for t in state.module.values() if t.is_floating_point())
        found[precision] = state.module["6.weight"]
    gap = (found["bf16"] - found["fp32"]).norm() / found["fp32"].norm()
    assert 0 < gap < 0.2


def test_an_optim_of_before_bf16_is_known_by_the_same_json():
    assert "precision" not in as_json(Optim())
    assert as_json(Optim(precision="bf16"))["precision"] == "bf16"
