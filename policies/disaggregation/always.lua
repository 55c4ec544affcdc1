-- Always: an instance that prefills computes every prompt.
--
-- Rule: every prompt is computed elsewhere.
-- Source: BLIS (`--pd-decider always`); the built-in `always` decides the same.

return {
  disaggregate = function()
    return true
  end,
}
