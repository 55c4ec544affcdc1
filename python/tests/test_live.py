"""Emulated servers and the gateway in front of them, asked by the client that everybody has (a dependency of OpenEvolve)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import openai
import pytest


@contextmanager
def serving(*arguments: str) -> Iterator[list[str]]:
    """A command that serves; it ends with its standard input. Gives its URLs."""
    command = [sys.executable, "-m", "windtunnel", *arguments, "--until-stdin-closes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            yield json.loads(process.stdout.readline())["urls"]
        finally:
            process.stdin.close()
            assert process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    emulated = ["emulate", "--model=llama-3.1-8b-instruct", "--hardware=H100", "--tp=1", "--num-instances=2", "--port=0"]
    with serving(*emulated, "--served-model-name=m", "--speed=10", "--enable-prompt-tokens-details") as servers:
        endpoints = [f"--endpoint={url}" for url in servers]
        with serving("live", *endpoints, "--listen=127.0.0.1:0", "--routing-policy=round-robin") as gateway:
            yield {"server": servers[0], "gateway": gateway[0]}


@pytest.mark.parametrize("which", ["server", "gateway"])
def test_the_client_of_openai_works_unchanged(urls: dict[str, str], which: str) -> None:
    client = openai.OpenAI(base_url=f"{urls[which]}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["m"]
    messages = [{"role": "user", "content": "hello"}]
    whole = client.chat.completions.create(model="m", messages=messages, max_tokens=4)
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (4, "length")
    stream = client.chat.completions.create(
        model="m", messages=messages, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(text) == 5 and chunks[-1].usage.completion_tokens == 5
    assert client.completions.create(model="m", prompt="hello there", max_tokens=3).usage.prompt_tokens == 2
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.completions.create(model="another", prompt="a")
    with pytest.raises(openai.BadRequestError, match="at least 1"):
        client.completions.create(model="m", prompt="a", max_tokens=0)
    with pytest.raises(openai.RateLimitError):
        client.completions.create(model="m", prompt="a", extra_headers={"X-Return-Error": "429"})
