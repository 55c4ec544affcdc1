-- `slo-based` upside down: the younger and the less important, the more urgent. What a sign error does, for comparison.
--
-- Rule: priority = -(class step + arrival / 1 s).
-- Source: the reference simulator BLIS (2026-02), priority `inverted-slo`; the built-in decides the same.
--@param highest = 4, -100..100 int  The highest priority a class has; 4 unless the bundle changes the classes

return {
  priority = function(req)
    return -(cfg.highest - req.class_priority + req.arrival_us / 1e6)
  end,
}
