"""SkyDiscover calls evaluate(program_path). Limits, stages and the cache are inside the scorer."""

from windtunnel.evolve import skydiscover_evaluator

SUITE = @SUITE@

evaluate = skydiscover_evaluator(SUITE)
