-- Class and age: a request is worth one class step more for every second it has waited; lower is more urgent.
--
-- Rule: priority = class step + arrival / 1 s, class step = highest class priority - the class's. All age at the same rate, so the arrival can
-- stand for the age.
-- Source: the reference simulator BLIS (2026-02), priority `slo-based`, which reads the age only; the class step is ours. The built-in decides
-- the same.

return {
  priority = function(req)
    return setup.highest_priority - req.class_priority + req.arrival_us / 1e6
  end,
}
