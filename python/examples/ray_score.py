"""Scores every policy of a folder on a Ray cluster, the best first.

python examples/ray_score.py policies/routing --suite routing-mixed
python examples/ray_score.py policies/routing --address ray://head:10001
"""

import argparse
from pathlib import Path

import ray
import windtunnel.ray

arguments = argparse.ArgumentParser(description="Scores every .lua file of a folder on a Ray cluster.")
arguments.add_argument("folder", type=Path)
arguments.add_argument("--suite", default="routing-mixed", help="name or .yaml file")
arguments.add_argument("--address", help="of a cluster [default: start one on this machine]")
arguments.add_argument("--cpus", type=int, help="of the cluster that is started")
given = arguments.parse_args()

files = sorted(given.folder.glob("*.lua"))
ray.init(address=given.address, num_cpus=given.cpus, include_dashboard=False)
reports = windtunnel.ray.score_batch(files, given.suite)
for report in sorted(reports, key=lambda report: -report.score):
    print(f"{report.score:8.2f}  {report['candidate']}")
ray.shutdown()
