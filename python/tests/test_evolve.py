"""The frameworks, in their released versions, in directories that ``windtunnel evolve init`` writes, against a model that breaks some policies."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import windtunnel
import windtunnel.evolve
from conftest import SUITE, init
from model import BEGIN, Model, broken, current_policy

Run = Callable[..., str]


def script(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).with_name(name))


def is_broken(policy: str) -> bool:
    return BEGIN in policy


def better_than(policy: str, seed: str) -> bool:
    """By the scorer itself, not by what a framework kept."""
    found, first = windtunnel.score(policy, SUITE), windtunnel.score(seed, SUITE)
    assert found.ok and first.ok
    return found.score > first.score


def told_well(prompts: list[str]) -> None:
    """What the model needs is in every prompt, and nothing that is none of Lua's."""
    for prompt in prompts:
        assert "`:precise_prefix_blocks()`" in prompt, "the API"
        assert "small@1: A few requests" in prompt, "the task"
        for wrong in ("for i in range(", "# Original code", "{language}", "{{", "```python"):
            assert wrong not in prompt, wrong


def test_openevolve(tmp_path: Path, model: Model, seed: str, carry_out: Run) -> None:
    folder = tmp_path / "run"
    init("openevolve", folder)
    # One at a time: when a prompt is made, the feedback of its parent is there.
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("parallel_evaluations: 4", "parallel_evaluations: 1"))
    command = "openevolve-run initial_policy.lua evaluator.py --config config.yaml --iterations 30".split()
    readme = (folder / "README.md").read_text().replace("\\\n", "")
    assert " ".join(command[:-1]) in readme
    command += ["--api-base", model.environment["OPENAI_API_BASE"], "--primary-model", "test"]
    carry_out([script(command[0]), *command[1:]], folder, model.environment)

    output = folder / "openevolve_output"
    best = (output / "best" / "best_program.lua").read_text()
    assert not is_broken(best) and better_than(best, seed)
    programs = [
        json.loads(file.read_text()) for file in (output / "checkpoints" / "checkpoint_30" / "programs").glob("*.json")
    ]
    assert len(programs) > 20 and len(model.prompts) >= 30
    failed = [program for program in programs if is_broken(program["code"])]
    assert len(failed) >= 5
    for program in programs:
        assert set(program["metrics"]) == {"combined_score", "worst_scenario"}
        report = windtunnel.score(program["code"], SUITE)
        assert report.ok != is_broken(program["code"])
        assert (program["metrics"]["combined_score"] == -100) == (not report.ok or report["stopped"] is not None)
    told_well(model.prompts)
    # What broke a policy is in the prompt that asks to mend it.
    mending = [prompt for prompt in model.prompts if is_broken(current_policy(prompt))]
    told = [windtunnel.score(current_policy(prompt), SUITE)["errors"][0]["message"] in prompt for prompt in mending]
    assert told and all(told)


def test_openevolve_with_patches(tmp_path: Path, model: Model, seed: str, carry_out: Run) -> None:
    folder = tmp_path / "run"
    init("openevolve", folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("diff_based_evolution: false", "diff_based_evolution: true"))
    command = [
        script("openevolve-run"),
        "initial_policy.lua",
        "evaluator.py",
        "--config",
        "config.yaml",
        "--iterations",
        "10",
    ]
    command += ["--api-base", model.environment["OPENAI_API_BASE"], "--primary-model", "test"]
    carry_out(command, folder, model.environment)
    told_well(model.prompts)
    best = (folder / "openevolve_output" / "best" / "best_program.lua").read_text()
    assert best.strip() == seed.strip() or better_than(best, seed)
    programs = list((folder / "openevolve_output" / "checkpoints" / "checkpoint_10" / "programs").glob("*.json"))
    assert len(programs) > 5


@pytest.mark.parametrize("entrance", ["run.py", "run_adapter.py"])
def test_gepa(tmp_path: Path, model: Model, seed: str, carry_out: Run, entrance: str) -> None:
    folder = tmp_path / "run"
    init("gepa", folder)
    assert "python run.py" in (folder / "README.md").read_text()
    said = carry_out([sys.executable, entrance, "--calls", "150"], folder, model.environment)
    scores = re.search(r"(\d+) policies; .* seed (-?[\d.]+), best (-?[\d.]+)", said)
    assert scores and int(scores[1]) > 1 and float(scores[3]) > float(scores[2])

    best = (folder / "best" / "routing.lua").read_text()
    assert not is_broken(best)
    first, found = (windtunnel.score(policy, SUITE, split="val") for policy in (seed, best))
    assert found.ok and found.score > first.score
    # Reflection goes on above a score of 1.0, and every minibatch has each scenario once.
    assert len(model.prompts) >= 12 and len(set(model.kinds)) >= 6
    told_well(model.prompts)
    for prompt in model.prompts:
        for scenario in ("shared", "shared-busy", "plain"):
            assert len(re.findall(rf"^#+ [Ss]cenario\n{scenario}\b(?!-)", prompt, re.MULTILINE)) == 1, (
                "a scenario is shown twice"
            )


def test_shinka(tmp_path: Path, model: Model, seed: str, carry_out: Run) -> None:
    folder = tmp_path / "run"
    init("shinka", folder)
    assert "python run.py" in (folder / "README.md").read_text()
    carry_out([sys.executable, "run.py", "--generations", "8"], folder, model.environment)

    results = folder / "results"
    best = (results / "best" / "main.lua").read_text()
    assert (
        not is_broken(best)
        and best.startswith("-- EVOLVE-BLOCK-START\n")
        and best.rstrip().endswith("\n-- EVOLVE-BLOCK-END")
    )
    assert better_than(best, seed)
    evaluated = sorted(results.glob("gen_*/results/metrics.json"))
    assert len(evaluated) == 8
    failed = 0
    for file in evaluated:
        policy = (file.parents[1] / "main.lua").read_text()
        metrics, correct = json.loads(file.read_text()), json.loads(file.with_name("correct.json").read_text())
        assert correct["correct"] != is_broken(policy)
        if correct["correct"]:
            assert set(metrics["public"]) == {"worst_scenario", "shared", "shared-busy", "plain"}
            assert "val_score" in metrics["private"]
        else:
            failed += 1
            assert metrics["combined_score"] == -100 and correct["error"] and not metrics["private"]
    assert failed
    told_well(model.prompts)


def test_skydiscover(tmp_path: Path, seed: str) -> None:
    """SkyDiscover itself is in no registry: what it calls is called as it would."""
    folder = tmp_path / "benchmark"
    init("skydiscover", folder)
    assert not (folder / "evaluator").exists(), "a container has no suite of the user's own"
    call = "import json, sys, evaluator; print(json.dumps(evaluator.evaluate(sys.argv[1])))"
    (tmp_path / "bad.lua").write_text(broken(seed, "syntax"))
    said = []
    for policy in (folder / "initial_program.lua", tmp_path / "bad.lua"):
        done = subprocess.run(
            [sys.executable, "-c", call, str(policy)], cwd=folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout))
    good, bad = said
    assert set(good) == {"combined_score", "worst_scenario", "artifacts"}
    assert good["combined_score"] == windtunnel.score(seed, SUITE).score
    assert bad["combined_score"] == bad["worst_scenario"] == -100
    assert "ERROR syntax" in bad["artifacts"]["feedback"]

    shipped = tmp_path / "shipped"
    command = [sys.executable, "-m", "windtunnel", "evolve", "init", "skydiscover", str(shipped)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    evaluate = shipped / "evaluator" / "evaluate.sh"
    assert os.access(evaluate, os.X_OK) and (shipped / "evaluator" / "Dockerfile").exists()
    # The container's program, on this suite to be quick.
    evaluate.write_text(evaluate.read_text().replace('"routing-mixed"', json.dumps(SUITE)))
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for arguments in (["train", policy := str(folder / "initial_program.lua")], [policy, "test"]):
        done = subprocess.run(
            [evaluate, *arguments], env=os.environ | path, capture_output=True, text=True, timeout=120
        )
        answer = json.loads(done.stdout)
        split = "val" if "test" in arguments else "train"
        assert (
            answer["status"] == "success"
            and answer["combined_score"] == windtunnel.score(seed, SUITE, split=split).score
        )
    # Its prompt goes through str.format.
    assert (shipped / "task.txt").read_text().format_map({}).count("{") > 0


def test_several_hooks_make_one_file(tmp_path: Path) -> None:
    suite = tmp_path / "both.yaml"
    text = Path(SUITE).read_text().replace("hooks: [routing]", "hooks: [routing, scheduler]")
    suite.write_text(text.replace("workload: ", f"workload: {Path(SUITE).parent}/"))
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "windtunnel", "evolve", "init", "openevolve", str(folder), "--suite", str(suite)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    both = windtunnel.score(folder / "initial_policy.lua", suite)
    assert both.ok, both["errors"]
    prompt = (folder / "prompts" / "full_rewrite_user.txt").read_text()
    assert "routing = {{ route = function(req, insts, cluster) ... end, }}," in prompt
    one = tmp_path / "one"
    subprocess.run(
        [*command[:-3], str(one), "--suite", str(suite), "--hook", "scheduler"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert "routing" not in (one / "initial_policy.lua").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["openevolv", "new"], "invalid value 'openevolv'"),
        (["gepa", "full"], "full: cannot write: the folder is not empty; choose another"),
        (["gepa", "full/file"], "full/file: cannot write: it is there already, and no folder"),
        (["gepa", "no/new"], "no/new: cannot write: there is no folder no"),
        (["gepa", "new", "--suite", "routing-mixd"], 'unknown suite "routing-mixd"; did you mean "routing-mixed"?'),
        (
            ["gepa", "new", "--hook", "scheduler"],
            " does not open it; it opens routing",
        ),
        (["gepa", "new", "--hook", "router"], 'unknown hook "router"; did you mean'),
        (["gepa", "new", "--hook", "routing", "--hook", "routing"], "--hook routing is given twice"),
    ],
)
def test_init_refuses(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    command = [sys.executable, "-m", "windtunnel", "evolve", "init", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_scorer_that_fails_gives_the_worst_score(
    suite: str, seed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A framework that caught an exception would give 0: a good score."""

    def fails(*_: object, **__: object) -> None:
        raise OSError("no processes left")

    policy = tmp_path / "p.lua"
    policy.write_text(seed)
    monkeypatch.setattr(windtunnel, "score", fails)
    monkeypatch.setattr(windtunnel, "score_batch", fails)
    told = windtunnel.evolve.openevolve_evaluator(suite)(policy)
    assert told.metrics == {"combined_score": -100, "worst_scenario": -100}
    assert "through no fault of its own: no processes left" in told.artifacts["feedback"]
    score, info = windtunnel.evolve.oa_evaluator(suite)(seed, {"split": "train", "scenario": "plain"})
    assert score == -100 and "no processes left" in info["Error"]
    assert windtunnel.evolve.skydiscover_evaluate(policy, suite)["combined_score"] == -100


def test_a_wrong_suite_is_found_before_the_run() -> None:
    for make in (
        windtunnel.evolve.openevolve_evaluator,
        windtunnel.evolve.skydiscover_evaluator,
        windtunnel.evolve.oa_evaluator,
        windtunnel.evolve.GepaAdapter,
    ):
        with pytest.raises(windtunnel.InputError, match="unknown suite"):
            make("no-such")


def test_gepas_evaluators_agree_and_keep_the_order(suite: str, seed: str) -> None:
    train, val = windtunnel.evolve.scenarios(suite), windtunnel.evolve.scenarios(suite, "val")
    assert [example["scenario"] for example in train] == ["shared", "shared-busy", "plain"]
    assert windtunnel.evolve.minibatch_size(train) == 3 and windtunnel.evolve.minibatch_size(val) == 2
    pairs = [
        (seed, train[0]),
        ({"routing": seed}, val[1]),
        (broken(seed, "nan"), train[2]),
        ({"policy": seed}, train[2]),
    ]
    batch = windtunnel.evolve.oa_batch_evaluator(suite)(pairs)
    single = windtunnel.evolve.oa_evaluator(suite)
    assert batch == [single(candidate, example) for candidate, example in pairs]
    assert batch[2][0] == -100 and batch[2][1]["scores"] == {"ttft_mean": -100, "e2e_mean": -100}
    assert set(batch[0][1]["scores"]) == {"ttft_mean", "e2e_mean"} and "scores" not in batch[1][1]
    whole, _ = single(seed)
    assert whole == windtunnel.score(seed, suite).score
    with pytest.raises(windtunnel.InputError, match="components a, b are no hooks"):
        from windtunnel.evolve._gepa import _policy

        _policy({"a": seed, "b": seed})


def test_lua_is_registered_once() -> None:
    program = """
import windtunnel.evolve
windtunnel.evolve.register_lua_in_shinka()
windtunnel.evolve.register_lua_in_shinka()
from shinka.edit import apply_diff_patch, apply_full_patch, redact_immutable
from shinka.utils.languages import get_language_extension
assert get_language_extension("lua") == get_language_extension("luau") == "lua"
text = "-- EVOLVE-BLOCK-START\\nlocal a = 1\\n-- EVOLVE-BLOCK-END\\n"
full = apply_full_patch("```lua\\n-- EVOLVE-BLOCK-START\\nlocal a = 2\\n-- EVOLVE-BLOCK-END\\n```", text, language="lua")
assert full[0] == text.replace("1", "2"), full
assert "--" not in redact_immutable(text, no_state=True)
patch = "<<<<<<< SEARCH\\nlocal a = 1\\n=======\\nlocal a = 3\\n>>>>>>> REPLACE\\n"
assert apply_diff_patch(patch, text, language="lua")[0] == text.replace("1", "3").rstrip()
import shinka.core.sampler as sampler
prompts = [*sampler.FULL_SYS_FORMATS, sampler.CROSS_SYS_FORMAT, sampler.DIFF_SYS_FORMAT]
assert all("{language}" not in p and "range(" not in p for p in prompts)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_chat_model_says_what_is_missing_and_what_went_wrong(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    for name, value in model.environment.items():
        monkeypatch.setenv(name, value)
    prompt = "# The current policy\n```lua\n--@param a = 1, 0..2  A number\nreturn { score = f }\n```\n`:x`"
    assert "--@param a = 0, 0..2" in windtunnel.evolve.ChatModel()(prompt)
    monkeypatch.delenv("OPENAI_MODEL")
    with pytest.raises(ValueError, match="set the environment variable OPENAI_MODEL"):
        windtunnel.evolve.ChatModel()
    nobody = windtunnel.evolve.ChatModel("m", "http://127.0.0.1:9", retries=0)
    with pytest.raises(RuntimeError, match="no answer from http://127.0.0.1:9"):
        nobody("hello")


def test_a_chat_model_asks_again_after_half_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def chat(content: str | None) -> bytes:
        return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()

    whole = chat("fine")
    # What is sent, and how long it is said to be.
    bad = [(whole[:9], len(whole)), (whole[:9], 9), (chat(None), None), (chat(" "), None), (b'{"error": "busy"}', None)]
    left: list[tuple[bytes, int | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            data, length = left.pop(0)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data) if length is None else length))
            self.end_headers()
            self.wfile.write(data)

    monkeypatch.setattr("time.sleep", lambda _: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_address[1]}/v1"
            left += [*bad, (whole, None)]
            assert windtunnel.evolve.ChatModel("m", base, "k", retries=len(bad))("hello") == "fine"
            for answer in bad:
                left.append(answer)
                with pytest.raises(RuntimeError, match=f"no answer from {base}"):
                    windtunnel.evolve.ChatModel("m", base, "k", retries=0)("hello")
        finally:
            server.shutdown()
            thread.join()
