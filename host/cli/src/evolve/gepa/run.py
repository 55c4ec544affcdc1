"""GEPA's optimize_anything: evolves policy/*.lua, the scenarios are the examples. `python run.py --help`."""

import argparse
from pathlib import Path

from gepa.optimize_anything import EngineConfig, GEPAConfig, ReflectionConfig, optimize_anything
from windtunnel.evolve import ChatModel, minibatch_size, oa_batch_evaluator, scenarios

SUITE = @SUITE@
HERE = Path(__file__).resolve().parent

arguments = argparse.ArgumentParser()
arguments.add_argument("--calls", type=int, default=600, help="scorings of a policy in a scenario [default: 600]")
arguments.add_argument("--run-dir", type=Path, default=HERE / "run", help="state; the same one goes on [default: run]")
arguments.add_argument("--out", type=Path, default=HERE / "best", help="the best policy goes here [default: best]")
arguments.add_argument("--jobs", type=int, help="processes [default: the number of cores]")
given = arguments.parse_args()

train, val = scenarios(SUITE), scenarios(SUITE, "val")
result = optimize_anything(
    # One component per hook.
    seed_candidate={file.stem: file.read_text() for file in sorted((HERE / "policy").glob("*.lua"))},
    batch_evaluator=oa_batch_evaluator(SUITE, jobs=given.jobs),
    dataset=train,
    valset=val or None,
    objective="Write a policy with a higher score in every scenario. Answer with the whole file.",
    background=(HERE / "task.md").read_text(),
    config=GEPAConfig(
        engine=EngineConfig(
            run_dir=str(given.run_dir),
            max_metric_calls=given.calls,
            seed=0,
            frontier_type="instance",
            # GEPA's cache takes the n-th scenario of train for the n-th of val. The scorer has one of its own.
            cache_evaluation=False,
            raise_on_exception=False,
        ),
        reflection=ReflectionConfig(
            reflection_lm=ChatModel(),
            reflection_minibatch_size=minibatch_size(train),
            # There is no perfect score. (gepa.optimize takes 1.0 for it unless told otherwise.)
            skip_perfect_score=False,
        ),
    ),
)

given.out.mkdir(parents=True, exist_ok=True)
for hook, text in result.best_candidate.items():
    (given.out / f"{hook}.lua").write_text(text)
print(f"{len(result.candidates)} policies; scores on the validation scenarios: seed {result.val_aggregate_scores[0]:.2f},", end=" ")
print(f"best {result.val_aggregate_scores[result.best_idx]:.2f}; it is in {given.out}")
