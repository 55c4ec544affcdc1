"""The package has types: editors complete calls, and checkers find mistakes in them."""

import inspect
from pathlib import Path

import pytest
import windtunnel

api = pytest.importorskip("mypy.api", reason="mypy is not installed")

HERE = Path(__file__).parent


def checked(sample: str, cache: Path) -> list[str]:
    found, errors, _ = api.run([str(HERE / sample), "--strict", "--cache-dir", str(cache), "--no-error-summary"])
    assert not errors
    return [line for line in found.splitlines() if ": error:" in line]


def test_mypy_finds_mistakes_and_only_those(tmp_path: Path) -> None:
    assert checked("sample_typed.py", tmp_path) == []
    found = {int(line.split(":")[1]) for line in checked("sample_mistyped.py", tmp_path)}
    lines = (HERE / "sample_mistyped.py").read_text().splitlines()
    assert found == {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def test_the_package_itself_is_well_typed(tmp_path: Path) -> None:
    package = Path(windtunnel.__file__).parent
    files = sorted(package.glob("*.py")) + sorted(package.glob("_commands/*.py"))
    # By name: as files they would make their folder the root, whose others hide the library's.
    names = [".".join(path.relative_to(package.parent).with_suffix("").parts) for path in files]
    modules = [argument for name in names for argument in ("-m", name.removesuffix(".__init__"))]
    found, errors, code = api.run([*modules, "--strict", "--cache-dir", str(tmp_path), "--ignore-missing-imports"])
    assert code == 0, found + errors


@pytest.mark.parametrize("command", [windtunnel.run, windtunnel.replay, windtunnel.sweep, windtunnel.plan])
def test_signatures_are_there_when_a_program_runs(command: object) -> None:
    signature = inspect.signature(command)  # type: ignore[arg-type]
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert {"rate_scale", "routing_policy", "num_instances"} <= set(signature.parameters)
    documentation = inspect.getdoc(command) or ""
    assert "Args:" in documentation and "Raises:" in documentation


def test_unknown_keywords_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match=r"run\(\) got an unexpected keyword argument 'ratee'; did you mean 'rate'\?"):
        windtunnel.run("llama-3.1-8b-instruct", ratee=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"plan\(\) got .* did you mean 'max_gpus'\?"):
        windtunnel.plan("m", slo="ttft.p99<1s", maxgpus=3)  # type: ignore[call-arg]
    with pytest.raises(windtunnel.InputError, match="num_requests and max_prompts are the same setting"):
        windtunnel.run("llama-3.1-8b-instruct", num_requests=3, max_prompts=4)
