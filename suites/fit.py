#!/usr/bin/env python3
"""Figures of a request trace for a workload spec: lengths, arrivals, sharing. Reads the trace that the command line names.

    python3 suites/fit.py TRACE [--bins N] [--scale F]

TRACE is an Azure LLM inference trace (CSV) or a Mooncake trace (JSON lines). Lengths are printed as `empirical` parameters: the means of N equally likely
bins, times F. Arrivals: rate, cv of gaps, index of dispersion of counts. Sharing (Mooncake): sessions are requests whose blocks continue all full blocks
of an earlier request.
"""
import argparse
import collections
import csv
import datetime
import json
import statistics


def read(path):
    """(seconds, prompt tokens, output tokens, block ids or None) of each request, by time."""
    if path.endswith(".csv"):
        with open(path, newline="") as file:
            rows = [
                (
                    datetime.datetime.fromisoformat(r["TIMESTAMP"][:26]).timestamp(),
                    int(r["ContextTokens"]),
                    int(r["GeneratedTokens"]),
                    None,
                )
                for r in csv.DictReader(file)
            ]
    else:
        with open(path) as file:
            rows = [
                (r["timestamp"] / 1000, r["input_length"], r["output_length"], r["hash_ids"])
                for r in map(json.loads, file)
            ]
    return sorted(rows, key=lambda r: r[0])


def quantiles(values):
    values = sorted(values)
    return {p: round(values[min(len(values) - 1, len(values) * p // 100)], 1) for p in (5, 25, 50, 75, 90, 95, 99)}


def empirical(values, bins, scale):
    """Means of equally likely bins; equal means share a key."""
    values, n = sorted(values), len(values)
    weights = collections.Counter()
    for k in range(bins):
        weights[max(1, round(scale * statistics.mean(values[k * n // bins : (k + 1) * n // bins])))] += 1
    return "{" + ", ".join(f"{length}: {weight}" for length, weight in sorted(weights.items())) + "}"


def arrivals(times):
    gaps = [b - a for a, b in zip(times, times[1:])]
    span = times[-1] - times[0]
    print(f"arrivals: {len(times)} in {span:.0f} s, {len(times) / span:.2f}/s, cv of gaps {statistics.pstdev(gaps) / statistics.mean(gaps):.2f}")
    for width in (1, 10, 60):
        counts = collections.Counter(int((t - times[0]) / width) for t in times)
        series = [counts.get(k, 0) for k in range(int(span / width) + 1)]
        mean = statistics.mean(series)
        relative = {p: round(q / mean, 2) for p, q in quantiles(series).items()}
        print(f"  in {width:>2} s: variance/mean {statistics.pvariance(series) / mean:.1f}, rate over mean by percentile {relative}")


def sharing(rows):
    """Sessions by the trie of block ids: a request continues the latest one whose full blocks it repeats."""
    nodes, last = {}, {}
    session, rounds, shared_root = {}, collections.Counter(), collections.Counter()
    gaps, between, new, firsts = [], [], [], []
    for i, (at, prompt, _, blocks) in enumerate(rows):
        shared_root[blocks[0]] += 1
        node, chain, before = 0, [], None
        for depth, block in enumerate(blocks):
            node = nodes.setdefault((node, block), len(nodes) + 1)
            chain.append(node)
            if depth >= 1 and node in last:
                before = last[node]
        session[i] = i if before is None else session[before]
        rounds[session[i]] += 1
        if before is None:
            firsts.append(prompt)
        else:
            gaps.append(at - rows[before][0])
            between.append(i - before)
            new.append(prompt - rows[before][1])
        full = min(prompt // 512, len(chain))
        if full:
            last[chain[full - 1]] = i
    counts = collections.Counter(rounds.values())
    print(f"sharing: {len(rounds)} sessions; the commonest first block opens {shared_root.most_common(1)[0][1] / len(rows):.1%} of the prompts")
    print("  sessions by rounds:", {r: round(counts[r] / len(rounds), 3) for r in sorted(counts)[:8]}, "more:", round(sum(c for r, c in counts.items() if r > 8) / len(rounds), 3))
    print(f"  requests in sessions of several rounds: {sum(r for r in rounds.values() if r > 1) / len(rows):.1%}, mean rounds of those {statistics.mean([r for r in rounds.values() if r > 1]):.2f}")
    print("  first prompts:", quantiles(firsts))
    print("  growth of the prompt from round to round:", quantiles(new))
    print("  seconds between rounds:", quantiles(gaps), " requests in between:", quantiles(between))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("--bins", type=int, default=16)
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    rows = read(args.trace)
    for name, column in (("prompt", 1), ("output", 2)):
        values = [r[column] for r in rows]
        print(f"{name}: mean {statistics.mean(values):.1f}, quantiles {quantiles(values)}")
        print(f"  params: {empirical(values, args.bins, args.scale)}")
    arrivals([r[0] for r in rows])
    if rows[0][3] is not None:
        sharing(rows)


if __name__ == "__main__":
    main()
