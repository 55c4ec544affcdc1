-- Never: the instance that decodes computes every prompt.
--
-- Rule: no prompt is computed elsewhere.
-- Source: BLIS (`--pd-decider never`); the built-in `never` decides the same.

return {
  disaggregate = function()
    return false
  end,
}
