"""Make benchmarks/digits.csv.gz: some hundred real distillations of digits with their whole curves.

One row a trial: the sampled parameters, the student's exact size, the seconds of an epoch of each stage, and after each
epoch the number of right validation examples (-1 while hints train: the student's output means nothing yet).
It continues where it was interrupted: `python -m benchmarks.make_table --trials 600 --workers 2`.
"""

import argparse
from pathlib import Path

import pandas as pd

import kdsearch
from benchmarks import digits_space

TABLE = Path(__file__).with_name("digits.csv.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--workspace", default="runs/benchmarks")
    arguments = parser.parse_args()
    results = kdsearch.run(
        Path(digits_space.__file__),
        workspace=arguments.workspace,
        trials=arguments.trials,
        workers=arguments.workers,
        track=False,
        confirm=False,
    )
    validation = results.facts.data["validation"]
    rows = []
    for record in results.records:
        if record.state != "complete":
            continue
        seconds = {
            f"seconds_{stage}": _mean([line["seconds"] for line in record.curve if line["stage"] == stage])
            for stage in ("hints", "pretrain", "distil")
        }
        right = [round(validation * line.get("validation_accuracy", -1 / validation)) for line in record.curve]
        rows.append(
            {
                **record.params,
                "parameters": int(record.known["parameters"]),
                "macs": int(record.known["macs"]),
                **seconds,
                "evaluation_seconds": _mean([line["evaluation_seconds"] for line in record.curve]),
                "right": " ".join(map(str, right)),
            }
        )
    pd.DataFrame(rows).to_csv(TABLE, index=False, float_format="%.6g", compression={"method": "gzip", "mtime": 0})
    print(f"{len(rows)} of {len(results.records)} trials, of {validation} validation examples each: {TABLE}")


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


if __name__ == "__main__":
    main()
