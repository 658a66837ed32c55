"""What goes to a run within MLflow's limits, into a real store."""

import math

import pytest

from kdsearch.tracking.logged import PARAM_CHARACTERS, cut, log


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{tmp_path_factory.mktemp('logged') / 'mlflow.db'}")


@pytest.fixture
def run(client):
    return client.create_run("0").info.run_id


def test_a_loss_that_diverged_loses_nothing_of_its_batch(client, run):
    values = [1.0, math.inf, -math.inf, math.nan, 2.0]
    log(client, run, metrics=[("loss", value, 1000 + step, step) for step, value in enumerate(values)])
    kept = {point.step: point.value for point in client.get_metric_history(run, "loss")}
    assert (kept[0], kept[4]) == (1.0, 2.0)
    assert all(math.isnan(kept[step]) for step in (1, 2, 3)), "1.8e308 would be the scale of every chart"


def test_what_is_too_long_is_cut_and_says_so(client, run):
    log(client, run, params={"long": "x" * 7000, "whole": "y" * PARAM_CHARACTERS}, tags={"note": "z" * 9000})
    data = client.get_run(run).data
    assert len(data.params["long"]) == PARAM_CHARACTERS
    assert data.params["long"].endswith("x ... (cut here: MLflow keeps no more)")
    assert data.params["whole"] == "y" * PARAM_CHARACTERS
    assert data.tags["note"].endswith("z ... (cut here: MLflow keeps no more)")
    assert cut("as it is", 8) == "as it is"


def test_more_than_a_call_may_hold_takes_several(client, run):
    log(
        client,
        run,
        metrics=[("loss", 1.0, step, step) for step in range(2000)],
        params={f"param{number}": number for number in range(130)},
        tags={f"tag{number}": "<b>text</b>" for number in range(230)},
    )
    data = client.get_run(run).data
    assert len(client.get_metric_history(run, "loss")) == 2000
    assert len(data.params) == 130
    assert sum(value == "<b>text</b>" for value in data.tags.values()) == 230
