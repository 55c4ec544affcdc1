-- Tier shedding: under load, only important classes come in.
--
-- Rule: load = max over i of queue_depth(i) + batch_size(i) + in_flight(i); admit if load <= threshold or class priority >= min_priority.
-- Source: the reference simulator BLIS, admission `tier-shed`; the built-in decides the same.
--@param threshold = 0, 0..1e6 int  Largest effective load of an instance that still counts as no load
--@param min_priority = 0, -100..100 int  Least class priority that comes in under load

return {
  admit = function(req, cluster)
    local load = 0
    for _, inst in ipairs(cluster.instances) do
      load = math.max(load, inst.queue_depth + inst.batch_size + inst.in_flight)
    end
    if load <= cfg.threshold or req.class_priority >= cfg.min_priority then
      return true
    end
    return false, string.format("tier-shed: priority=%d < min=%d load=%d", req.class_priority, cfg.min_priority, load)
  end,
}
