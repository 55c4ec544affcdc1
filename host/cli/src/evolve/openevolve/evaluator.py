"""OpenEvolve calls evaluate(program_path). Limits, stages and the cache are inside the scorer."""

from windtunnel.evolve import openevolve_evaluator

SUITE = @SUITE@

evaluate = openevolve_evaluator(SUITE)
