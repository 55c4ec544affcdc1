"""Adapters for the frameworks that evolve programs: OpenEvolve, GEPA, ShinkaEvolve, SkyDiscover.

``windtunnel evolve init FRAMEWORK DIR`` writes a directory that uses them. No framework is imported before its adapter is called, and none
is a dependency.

All of them reduce a report to what its framework takes, and none raises for a candidate: a framework that catches an exception gives the
candidate 0, which here is as good as the best of the tuned references.
"""

from windtunnel.evolve._chat import ChatModel
from windtunnel.evolve._gepa import (
    GepaAdapter,
    minibatch_size,
    oa_batch_evaluator,
    oa_evaluator,
    scenarios,
)
from windtunnel.evolve._openevolve import openevolve_evaluate, openevolve_evaluator
from windtunnel.evolve._shinka import register_lua_in_shinka, shinka_main
from windtunnel.evolve._skydiscover import (
    skydiscover_evaluate,
    skydiscover_evaluator,
    skydiscover_main,
)

__all__ = [
    "ChatModel",
    "GepaAdapter",
    "minibatch_size",
    "oa_batch_evaluator",
    "oa_evaluator",
    "openevolve_evaluate",
    "openevolve_evaluator",
    "register_lua_in_shinka",
    "scenarios",
    "shinka_main",
    "skydiscover_evaluate",
    "skydiscover_evaluator",
    "skydiscover_main",
]
