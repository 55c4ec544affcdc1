"""A language model behind an OpenAI-compatible endpoint, without a library."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any


class ChatModel:
    """A model that answers a prompt: a callable that GEPA takes as its ``reflection_lm``.

    Args:
        model: Name of the model [default: ``OPENAI_MODEL``].
        base: Address of the endpoint, up to ``/v1`` [default: ``OPENAI_API_BASE``].
        key: Key of the endpoint [default: ``OPENAI_API_KEY``].
        timeout_s: Longest time for one answer.
        retries: Attempts after a failed one.
        **parameters: More keys of the request, such as ``temperature``.
    """

    def __init__(
        self,
        model: str | None = None,
        base: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 600,
        retries: int = 3,
        **parameters: Any,
    ) -> None:
        self.model = model or _variable("OPENAI_MODEL", "the name of the model")
        self.base = (base or _variable("OPENAI_API_BASE", "the address of the endpoint, up to /v1")).rstrip("/")
        self._key = key or _variable("OPENAI_API_KEY", "the key of the endpoint; any text where it needs none")
        self._timeout_s = timeout_s
        self._retries = retries
        self._parameters = parameters

    def __call__(self, prompt: str | list[dict[str, Any]]) -> str:
        """The answer to a prompt, or to a list of messages."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        body = {"model": self.model, "messages": messages, **self._parameters}
        request = urllib.request.Request(
            f"{self.base}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
        )
        attempt = 0
        while True:
            try:
                with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                    return _content(json.load(answer))
            except urllib.error.HTTPError as error:
                said = _said(error)
                temporary = error.code in (408, 409, 429) or error.code >= 500
                if not temporary or attempt == self._retries:
                    raise RuntimeError(f"{self.base} answered {error.code}: {said}") from error
            # Half an answer, or none that makes sense, is no better than no answer. Errors of
            # addresses and timeouts are OSErrors.
            except (OSError, http.client.HTTPException, ValueError) as error:
                if attempt == self._retries:
                    raise RuntimeError(f"no answer from {self.base}: {error}") from error
            time.sleep(2**attempt)
            attempt += 1

    def __repr__(self) -> str:
        return f"ChatModel({self.model!r}, {self.base!r})"


def _content(answer: Any) -> str:
    """What the model says; an answer without any is as good as none."""
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ValueError(f"expected a chat completion, found {json.dumps(answer)[:200]}") from None
    if not isinstance(content, str) or not content.strip():
        raise ValueError("the answer is empty")
    return content


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return error.reason


def _variable(name: str, what: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"set the environment variable {name}: {what}")
    return value
