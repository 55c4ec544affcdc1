"""What the tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from model import Model

HERE = Path(__file__).parent
SUITE = str(HERE / "suite" / "small.yaml")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Reports are not kept where the user's are."""
    os.environ["WINDTUNNEL_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def hears_control_c() -> Iterator[None]:
    """A process that was started in the background ignores it, and so would its tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def suite() -> str:
    return SUITE


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.close()


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The policy that a new directory begins with."""
    folder = tmp_path_factory.mktemp("seed") / "made"
    init("gepa", folder)
    return (folder / "policy" / "routing.lua").read_text()


def init(framework: str, folder: Path) -> None:
    """Has the command write a directory."""
    command = [sys.executable, "-m", "windtunnel", "evolve", "init", framework, str(folder), "--suite", SUITE]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def in_session(session: int) -> list[psutil.Process]:
    """Processes of a session that are not over."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


@pytest.fixture
def carry_out() -> Iterator[Callable[..., str]]:
    """Runs a command to its end, as a user would, and gives its output. Whatever it started must end with it."""

    def run(command: list[str], folder: Path, environment: dict[str, str], timeout_s: float = 240) -> str:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            for left in in_session(process.pid):
                left.kill()
            output, _ = process.communicate()
            pytest.fail(f"{command} did not end within {timeout_s} s:\n{output[-4000:]}")
        assert process.returncode == 0, output[-8000:]
        # The system may take a moment to end children of what has just ended.
        deadline = time.monotonic() + 5
        while (left := in_session(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        names = [process.cmdline() for process in left]
        for one in left:
            one.kill()
        assert not names, f"left behind: {names}"
        return output

    return run
