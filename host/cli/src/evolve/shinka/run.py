"""ShinkaEvolve: evolves initial.lua. `python run.py --help`."""

import argparse
import os
from pathlib import Path

from windtunnel.evolve import register_lua_in_shinka

register_lua_in_shinka()  # before anything of Shinka asks for the language

from shinka.core import EvolutionConfig, ShinkaEvolveRunner  # noqa: E402
from shinka.database import DatabaseConfig  # noqa: E402
from shinka.launch import LocalJobConfig  # noqa: E402

HERE = Path(__file__).resolve().parent

arguments = argparse.ArgumentParser()
arguments.add_argument("--generations", type=int, default=50, help="[default: 50]")
arguments.add_argument("--results", type=Path, default=HERE / "results", help="[default: results]")
arguments.add_argument("--jobs", type=int, default=2, help="evaluations at a time [default: 2]")
given = arguments.parse_args()

base, model = os.environ.get("OPENAI_API_BASE"), os.environ["OPENAI_MODEL"]
if base:  # any endpoint that speaks OpenAI's protocol
    model = f"local/{model}@{base}?api_key_env=OPENAI_API_KEY"

runner = ShinkaEvolveRunner(
    evo_config=EvolutionConfig(
        task_sys_msg=(HERE / "task.md").read_text(),
        language="lua",
        init_program_path=str(HERE / "initial.lua"),
        results_dir=str(given.results.resolve()),
        num_generations=given.generations,
        patch_types=["full", "diff", "cross"],
        patch_type_probs=[0.6, 0.2, 0.2],
        llm_models=[model],
        llm_dynamic_selection=None,
        llm_kwargs={"temperatures": [0.5, 0.8, 1.0], "max_tokens": 16000},
        meta_rec_interval=None,
        embedding_model=None,  # novelty by code embeddings needs an endpoint for them
        use_text_feedback=True,  # off by default: the model would see numbers only
    ),
    # The scorer ends what hangs; this is for the day it does not.
    job_config=LocalJobConfig(eval_program_path=str(HERE / "evaluate.py"), time="00:30:00"),
    db_config=DatabaseConfig(db_path="evolution.sqlite", num_islands=2, archive_size=40),
    max_evaluation_jobs=given.jobs,
    max_proposal_jobs=given.jobs,
)
runner.run()
