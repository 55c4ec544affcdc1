"""The same with gepa.optimize and an adapter, which gives callbacks, merging and GEPA's other switches. `python run_adapter.py --help`."""

import argparse
from pathlib import Path

import gepa
from windtunnel.evolve import ChatModel, GepaAdapter, minibatch_size, scenarios

SUITE = @SUITE@
HERE = Path(__file__).resolve().parent

arguments = argparse.ArgumentParser()
arguments.add_argument("--calls", type=int, default=600, help="scorings of a policy in a scenario [default: 600]")
arguments.add_argument("--run-dir", type=Path, default=HERE / "run_adapter", help="state; the same one goes on [default: run_adapter]")
arguments.add_argument("--out", type=Path, default=HERE / "best", help="the best policy goes here [default: best]")
arguments.add_argument("--jobs", type=int, help="processes [default: the number of cores]")
given = arguments.parse_args()

train, val = scenarios(SUITE), scenarios(SUITE, "val")
result = gepa.optimize(
    # One component per hook.
    seed_candidate={file.stem: file.read_text() for file in sorted((HERE / "policy").glob("*.lua"))},
    trainset=train,
    valset=val or None,
    adapter=GepaAdapter(SUITE, jobs=given.jobs),
    reflection_lm=ChatModel(),
    # The default one asks for "a new instruction for the assistant".
    reflection_prompt_template=(HERE / "reflection.txt").read_text(),
    reflection_minibatch_size=minibatch_size(train),
    max_metric_calls=given.calls,
    run_dir=str(given.run_dir),
    seed=0,
    # GEPA's cache takes the n-th scenario of train for the n-th of val. The scorer has one of its own.
    cache_evaluation=False,
    # A score of 1.0 is nothing perfect here: with the default nothing above it would be reflected on.
    skip_perfect_score=False,
    raise_on_exception=False,
)

given.out.mkdir(parents=True, exist_ok=True)
for hook, text in result.best_candidate.items():
    (given.out / f"{hook}.lua").write_text(text)
print(f"{len(result.candidates)} policies; scores on the validation scenarios: seed {result.val_aggregate_scores[0]:.2f},", end=" ")
print(f"best {result.val_aggregate_scores[result.best_idx]:.2f}; it is in {given.out}")
