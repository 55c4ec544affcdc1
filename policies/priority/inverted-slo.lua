-- `slo-based` upside down: the younger and the less important, the more urgent. What a sign error does, for comparison.
--
-- Rule: priority = -(class step + arrival / 1 s).
-- Source: the reference simulator BLIS (2026-02), priority `inverted-slo`; the built-in decides the same.

return {
  priority = function(req)
    return -(setup.highest_priority - req.class_priority + req.arrival_us / 1e6)
  end,
}
