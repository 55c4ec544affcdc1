"""Cases in folders: case.json, requests.csv and expected.json."""

import csv
import gzip
import json
import os

import virtual

STEPS = ["start_us", "end_us", "chosen_at_us", "kv_blocks_used", "items"]


def read(folder):
    """The case and the requests of a folder."""
    with open(f"{folder}/case.json") as file:
        case = json.load(file)
    requests = []
    with open(f"{folder}/requests.csv", newline="") as file:
        for row in csv.DictReader(file):
            request = {
                "id": row["request_id"],
                "arrival_us": round(float(row["arrival_time"]) * 1e6),
                "prompt": json.loads(row["prefill_tokens"]),
                "decode": json.loads(row["decode_tokens"]),
                "priority": int(row.get("priority") or 0),
                "adapter": row.get("adapter") or "",
            }
            if row.get("accepted"):
                request["accepted"] = json.loads(row["accepted"])
            requests.append(request)
    return case, requests


def write_requests(path, requests):
    """requests.csv, as windtunnel reads it, too."""
    columns = ["arrival_time", "request_id", "model", "prefill_tokens", "decode_tokens"]
    columns += ["priority", "adapter"]
    speculative = any("accepted" in r for r in requests)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns + ["accepted"] * speculative)
        for r in requests:
            row = [f"{r['arrival_us'] / 1e6:.6f}", r["id"], "m", _list(r["prompt"])]
            row += [_list(r["decode"]), r["priority"], r["adapter"]]
            writer.writerow(row + [_list(r.get("accepted", []))] * speculative)


def _list(tokens):
    return json.dumps(tokens, separators=(",", ":"))


def write(folder, case, requests, result, steps=False):
    """A case with what vLLM made of it."""
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/case.json", "w") as file:
        json.dump(case, file, indent=1)
        file.write("\n")
    write_requests(f"{folder}/requests.csv", requests)
    expected = {
        "vllm": result["vllm"],
        "end_us": result["end_us"],
        "steps": len(result["steps"]),
        "preemptions": result["preemptions"],
        "columns": list(virtual.COLUMNS),
        "rows": [[row[name] for name in virtual.COLUMNS] for row in result["requests"]],
    }
    if result["events"] is not None:
        expected["events"] = result["events"]
    with open(f"{folder}/expected.json", "w") as file:
        head = {key: value for key, value in expected.items() if key not in ("rows", "events")}
        text = json.dumps(head)[:-1]
        for key in ("rows", "events"):
            if key in expected:
                lines = ",\n".join(json.dumps(row) for row in expected[key])
                text += f', "{key}": [\n{lines}\n]'
        file.write(text + "}\n")
    if steps:
        with gzip.GzipFile(f"{folder}/steps.csv.gz", "wb", mtime=0) as file:
            lines = [",".join(STEPS)]
            lines += [",".join(map(str, row)) for row in result["steps"]]
            file.write(("\n".join(lines) + "\n").encode())
