"""A language model for tests: an OpenAI-compatible endpoint on 127.0.0.1 that answers with the policy it was shown, changed.

Nothing in it is random: the n-th answer changes the numbers of the policy by a rule. Some answers are no good, in turn: a syntax error, loops
without end at load and in a call, memory without end, NaN, a patch that fits nowhere.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FACTORS = (0.0, 0.5, 3.0, 0.25, 2.0)

# What is put into a policy to break it; it comes out again before the next change.
BEGIN, END = "-- broken on purpose: begin", "-- broken on purpose: end"
AT_LOAD = {
    "syntax": "local x = = 3",
    "loop": "while true do end",
    "loop at load": "local i = 0 repeat i += 1 until i < 0",
}
IN_CALL = {
    # No lint sees that these never end.
    "loop in a call": "local i = 0 repeat i += 1 until i < 0",
    "memory": "local all = {} for i = 1, 1e9 do all[i] = string.rep('x', 1000) .. i end",
    "nan": "do return 0 / 0 end",
}
KINDS = (
    "good",
    "syntax",
    "good",
    "loop in a call",
    "good",
    "nan",
    "good",
    "memory",
    "good",
    "loop at load",
    "good",
    "loop",
    "good",
    "no match",
)

PARAM = re.compile(r"^(--@param \w+ = )([0-9.e-]+)(, [0-9.e-]+\.\.[0-9.e-]+.*)$", re.MULTILINE)
BROKEN = re.compile(rf"^{BEGIN}\n.*?^{END}\n", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ .*(?:current|incorrect) (?:policy|program|component)", re.MULTILINE | re.IGNORECASE)
FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)


def mended(policy: str) -> str:
    """The policy without what an earlier answer broke."""
    return BROKEN.sub("", policy)


def changed(policy: str, n: int) -> str:
    """The policy with one number changed: which one, and by what, depends on n only."""
    params = list(PARAM.finditer(policy))
    if not params:
        return policy
    chosen = params[n % len(params)]
    value = float(chosen[2]) * FACTORS[n // len(params) % len(FACTORS)] or (0.0 if float(chosen[2]) else 1.0)
    least, most = (float(x) for x in re.match(r", ([0-9.e-]+)\.\.([0-9.e-]+)", chosen[3]).groups())
    value = min(max(value, least), most)
    return policy[: chosen.start()] + f"{chosen[1]}{value:g}{chosen[3]}" + policy[chosen.end() :]


def broken(policy: str, kind: str) -> str:
    """The policy broken in a way."""
    if kind in AT_LOAD:
        at = policy.index("return {")
        what = AT_LOAD[kind]
    else:
        at = re.search(r"^ *\w+ = function\(.*\)\n", policy, re.MULTILINE).end()
        what = IN_CALL[kind]
    return f"{policy[:at]}{BEGIN}\n{what}\n{END}\n{policy[at:]}"


def current_policy(prompt: str) -> str:
    """The policy that the prompt asks to improve: the first one after the last heading that says so."""
    headings = list(HEADING.finditer(prompt))
    text = prompt[headings[-1].end() :] if headings else prompt
    for block in FENCED.findall(text):
        if "--@param" in block:
            return block.strip("\n") + "\n"
    raise ValueError("no policy in the prompt")


def answer(prompt: str, n: int) -> tuple[str, str]:
    """The n-th answer, and what kind it is."""
    kind = KINDS[n % len(KINDS)]
    before = current_policy(prompt)
    if "<<<<<<< SEARCH" in prompt:
        return _patch(before, prompt, n, kind)
    after = changed(mended(before), n)
    if kind not in ("good", "no match"):
        after = broken(after, kind)
    block = f"```lua\n{after}```"
    if "<CODE>" in prompt:
        return (
            f"<NAME>\nchange_{n}\n</NAME>\n\n<DESCRIPTION>\nOther numbers.\n</DESCRIPTION>\n\n<CODE>\n{block}\n</CODE>\n",
            kind,
        )
    return f"The report says little, so a number changes.\n\n{block}\n", kind


def _patch(before: str, prompt: str, n: int, kind: str) -> tuple[str, str]:
    lines = PARAM.findall(before)
    old = "".join(lines[n % len(lines)])
    new = PARAM.search(changed(old, n // len(lines)))[0]
    if kind == "no match":
        old = "local nowhere = 1"
    elif kind != "good":
        kind = "loop"
        new += f"\n{BEGIN}\n{AT_LOAD[kind]}\n{END}"
    patch = f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"
    if "<DIFF>" in prompt:
        return (
            f"<NAME>\nchange_{n}\n</NAME>\n\n<DESCRIPTION>\nOther numbers.\n</DESCRIPTION>\n\n<DIFF>\n{patch}\n</DIFF>\n",
            kind,
        )
    return f"A number changes.\n\n{patch}", kind


class Model:
    """The endpoint. ``prompts`` are what it was asked, ``kinds`` what it answered."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.kinds: list[str] = []
        self._lock = threading.Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self._send({"object": "list", "data": [{"id": "test", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = model.ask("\n\n".join(str(message["content"]) for message in body["messages"]))
                self._send(
                    {
                        "id": "answer",
                        "object": "chat.completion",
                        "created": 0,
                        "model": body["model"],
                        "choices": [
                            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                        ],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                    }
                )

            def _send(self, content: Any) -> None:
                data = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def ask(self, prompt: str) -> str:
        with self._lock:
            n = len(self.prompts)
            self.prompts.append(prompt)
            text, kind = answer(prompt, n)
            self.kinds.append(kind)
        return text

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead to it."""
        return {
            "OPENAI_API_BASE": f"http://127.0.0.1:{self._server.server_address[1]}/v1",
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_MODEL": "test",
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
