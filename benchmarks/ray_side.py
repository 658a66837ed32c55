"""Ray Tune with OptunaSearch over the space of benchmarks/mnist_space.py: the tuner of one race, as its own process."""

import argparse
import os
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from benchmarks import mnist_space, trainable


def train(params: dict[str, Any]) -> None:
    kind = os.environ["KDSEARCH_BENCHMARK_KIND"]
    trainable.run(
        params,
        kind,  # type: ignore[arg-type]
        lambda epoch, accuracy, size: tune.report({"epoch": epoch, "accuracy": accuracy, "parameters": size}),
    )


def space(trial: Any) -> None:
    """Define-by-run, as OptunaSearch takes it: what is suggested is the trial's."""
    mnist_space.space(trial)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    ray.init(num_cpus=arguments.workers, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    search = OptunaSearch(space=space, metric=["accuracy", "parameters"], mode=["max", "min"], seed=arguments.seed)
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=-1,
            time_budget_s=arguments.seconds,
            max_concurrent_trials=arguments.workers,
        ),
        run_config=tune.RunConfig(storage_path=str(arguments.folder.resolve()), verbose=0),
    )
    tuner.fit()
    ray.shutdown()


if __name__ == "__main__":
    main()
