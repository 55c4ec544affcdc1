-- The SLO class alone, as vLLM's priority scheduling takes it: lower is more urgent.
--
-- Rule: priority = highest class priority - the class's priority (critical 0, standard 1, batch 5, sheddable 6, background 7 by default).
-- Source: the reference simulator BLIS, which follows vLLM's sign; the built-in `slo-class` decides the same.

return {
  priority = function(req)
    return setup.highest_priority - req.class_priority
  end,
}
