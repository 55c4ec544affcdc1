"""Runs a case through windtunnel, and says where its figures differ from vLLM's."""

import json
import os
import subprocess

import cases

FIGURES = {
    "ttft_us": "ttft_us",
    "e2e_us": "e2e_us",
    "output_tokens": "generated_tokens",
    "preemptions": "preemptions",
    "cached_tokens": "cached_tokens",
}


def command(binary, case, requests_csv, results):
    """The command line of a case."""
    line = [binary, "run", "--model", "llama-3.1-8b-instruct", "--workload", "traces"]
    line += ["--workload-traces-filepath", requests_csv, "--results-path", results, "--quiet"]
    line += ["--latency-model", "blackbox", "--alpha-coeffs", "0,0,0"]
    line += ["--beta-coeffs", ",".join(map(str, case["beta"])), "--rules", "vllm"]
    line += ["--max-num-seqs", case["max_num_seqs"]]
    line += ["--max-num-batched-tokens", case["max_num_batched_tokens"]]
    line += ["--long-prefill-token-threshold", case["long_prefill_token_threshold"]]
    line += ["--max-model-len", case["max_model_len"], "--block-size", case["block_size"]]
    line += ["--total-kv-blocks", case["usable_kv_blocks"]]
    if case["watermark"]:
        line += ["--watermark", case["watermark"]]
    if not case["async"]:
        line += ["--no-async-scheduling"]
    if case["policy"] != "fcfs":
        line += ["--scheduling-policy", case["policy"]]
    if not case["prefix_caching"]:
        line += ["--no-enable-prefix-caching"]
    if not case["reserve_full_isl"]:
        line += ["--no-scheduler-reserve-full-isl"]
    if case.get("max_loras"):
        line += ["--max-loras", case["max_loras"]]
    if case.get("max_num_active_seqs"):
        line += ["--max-num-active-seqs", case["max_num_active_seqs"]]
    if case.get("long_prefill_token_threshold_adaptive"):
        line += ["--long-prefill-token-threshold-adaptive"]
    if not case.get("enable_chunked_prefill", True):
        line += ["--no-enable-chunked-prefill"]
    if case.get("num_speculative_tokens"):
        line += ["--num-speculative-tokens", case["num_speculative_tokens"]]
        line += ["--speculative-method", case["speculative_method"]]
    return [str(part) for part in line]


class Windtunnel:
    """A binary of windtunnel, and a folder for the files of its runs."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder

    def differences(self, case, requests, result):
        """Where a run differs from vLLM's result: pairs of a kind and a text; none if equal.

        The kind is the name of a figure, `refused`, or the first line of a failure.
        """
        path, out = f"{self.folder}/requests.csv", f"{self.folder}/results.json"
        cases.write_requests(path, requests)
        if os.path.exists(out):
            os.remove(out)
        line = command(self.binary, case, path, out)
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return [("runs for a minute", "windtunnel runs for more than a minute")]
        if done.returncode:
            first = (done.stderr.strip().splitlines() or ["no message"])[0]
            return [(f"exit code {done.returncode}: {first[:120]}", first)]
        with open(out) as file:
            told = json.load(file)
        rows = told if isinstance(told, list) else told["requests"]
        return list(_differences({r["request_id"]: r for r in rows}, result))


def _differences(ours, result):
    for row in result["requests"]:
        mine = ours.get(row["id"])
        if row["state"] == "refused":
            if mine is not None and mine.get("e2e_us") is not None:
                yield "refused", f"{row['id']} is refused by vLLM and completes here"
            continue
        if mine is None:
            yield "missing", f"{row['id']} is not in the results"
            continue
        for theirs, name in FIGURES.items():
            if row[theirs] != mine.get(name):
                text = f"{row['id']} {theirs}: vLLM {row[theirs]}, windtunnel {mine.get(name)}"
                yield theirs, text
