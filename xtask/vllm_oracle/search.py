"""The property: windtunnel's figures are vLLM's, in every case that is drawn."""

import collections
import itertools
import random
import sys
import tempfile
import time

import cases
import draw
import virtual
from compare import Windtunnel

# How often and how long a differing case is made smaller at most.
TRIES, SECONDS = 600, 60


def search(binary, count, seed, keep, most_kept, only=None, deadline=None):
    """Draws cases and compares; returns how many differ. The report goes to standard output."""
    report = Report(keep)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        ours = Windtunnel(binary, folder)
        for k in range(count):
            if deadline is not None and time.monotonic() - began > deadline:
                break
            name = f"{seed}-{k}"
            case, requests = draw.draw(random.Random(name), only)
            result = vllm(case, requests)
            if result is None:
                report.left_out += 1
                continue
            found = ours.differences(case, requests, result)
            report.note(case, found)
            if found and report.wants(case, found, most_kept):
                small = shrink(ours, case, requests, found)
                report.keep(name, *small)
            if (k + 1) % 25 == 0 or k + 1 == count:
                pace = (k + 1) / (time.monotonic() - began)
                text = f"{k + 1} of {count} cases, {report.differing} differ, {pace:.1f} per second"
                print(text, file=sys.stderr, flush=True)
    report.print()
    return report.differing


def vllm(case, requests):
    """vLLM's result; None for a case that it refuses or that does not end."""
    try:
        return virtual.run(case, requests)
    except (ValueError, AssertionError, virtual.NeverEnds):
        return None


def shrink(ours, case, requests, found):
    """A smaller case that differs, too: in a figure if `found` has one, else in the same way."""
    kinds = {kind for kind, _ in found}
    fails = {kind for kind in kinds if kind.startswith(("exit code", "runs for"))}
    best = (case, requests, vllm(case, requests), found)
    tries, began = 0, time.monotonic()
    progress = True
    while progress:
        progress = False
        for smaller_case, fewer in draw.smaller(best[0], best[1]):
            tries += 1
            if tries > TRIES or time.monotonic() - began > SECONDS:
                return best
            result = vllm(smaller_case, fewer)
            if result is None:
                continue
            now = ours.differences(smaller_case, fewer, result)
            got = {kind for kind, _ in now}
            same = got & fails if fails else got and not _failed(got)
            if same:
                best = (smaller_case, fewer, result, now)
                progress = True
                break
    return best


def _failed(kinds):
    return any(kind.startswith(("exit code", "runs for")) for kind in kinds)


class Report:
    """Counts, and the smallest differing cases in a folder."""

    def __init__(self, keep):
        self.folder = keep
        self.exact = collections.Counter()
        self.all = collections.Counter()
        self.kinds = collections.Counter()
        self.seen = collections.Counter()
        self.differing = self.left_out = self.kept = 0

    def note(self, case, found):
        features = case["features"]
        for group in itertools.chain([()], _singles(features), itertools.combinations(features, 2)):
            self.all[group] += 1
            self.exact[group] += not found
        if found:
            self.differing += 1
            self.kinds[found[0][0]] += 1

    def wants(self, case, found, most):
        """Of failures that look alike, few are worth the time to shrink them."""
        if self.folder is None or self.kept >= most:
            return False
        key = found[0][0] if _failed({found[0][0]}) else None
        self.seen[key] += 1
        return key is None or self.seen[key] <= 2

    def keep(self, name, case, requests, result, found):
        tokens = sum(len(r["prompt"]) + len(r["decode"]) for r in requests)
        features = "-".join(_features(case, requests)) or "plain"
        folder = f"{self.folder}/{len(requests):03}-{tokens:05}-{features}-{name}"
        cases.write(folder, case, requests, result, steps=True)
        with open(f"{folder}/differs.txt", "w") as file:
            file.writelines(text + "\n" for _, text in found)
        self.kept += 1
        print(f"differs: {folder}: {found[0][1]}", file=sys.stderr, flush=True)

    def print(self):
        total = self.all[()]
        if not total:
            print(f"no case; {self.left_out} left out")
            return
        print(f"{self.exact[()]} of {total} cases exact ({self.left_out} left out)")
        for kind, count in self.kinds.most_common(12):
            print(f"  {count:5} begin with {kind}")
        print("feature             exact     of")
        for (name,) in sorted(group for group in self.all if len(group) == 1):
            print(f"{name:18} {self.exact[name,]:6} {self.all[name,]:6}")
        pairs = [g for g in self.all if len(g) == 2 and self.exact[g] < self.all[g]]
        pairs.sort(key=lambda g: self.exact[g] / self.all[g])
        met = sum(1 for g in self.all if len(g) == 2)
        print(f"{met - len(pairs)} of {met} pairs of features exact")
        for group in pairs[:20]:
            print(f"{' + '.join(group):30} {self.exact[group]:6} {self.all[group]:6}")


def _singles(features):
    return ((name,) for name in features)


def _features(case, requests):
    """What a shrunken case still has of what makes cases differ."""
    yield "async" if case["async"] else "sync"
    for name, plain in (
        ("policy", "fcfs"),
        ("max_loras", None),
        ("watermark", 0.0),
        ("reserve_full_isl", True),
        ("long_prefill_token_threshold", 0),
        ("long_prefill_token_threshold_adaptive", False),
        ("max_num_active_seqs", None),
        ("enable_chunked_prefill", True),
        ("prefix_caching", True),
    ):
        if case.get(name, plain) != plain:
            yield name
    if case["usable_kv_blocks"] < 4000:
        yield "tight"
