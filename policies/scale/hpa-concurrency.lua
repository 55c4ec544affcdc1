-- HPA: Kubernetes' horizontal pod autoscaler on requests in flight per instance.
--
-- Rule: as many as bring the metric to its target (none come or go within the tolerance); of the
-- recommendations of the window the highest counts when instances go; so many may come at once.
-- Source: Kubernetes' autoscaling/v2 with its default behaviour; the built-in `hpa-concurrency`
-- decides the same.
--@param target = 32, 1e-9..1e6  requests in flight of an instance, held ones included
--@param tolerance = 0.1, 0..1  share by which the metric may be off its target
--@param down_window_s = 300, 0..86400  seconds of which the highest recommendation counts
--@param up_percent = 100, 0..1e308  per cent that may come at once, if more than up_instances
--@param up_instances = 4, 0..100000  instances that may come at once, if more than up_percent

local told = {}

-- What brings the number to its target: instances that are being started will take a share when it
-- is too high, and are no reason to keep more when it is too low.
local function wanted(pool, metric)
  local now, ready = pool.ready + pool.loading, pool.ready
  if ready == 0 then
    return now
  end
  local ratio = metric / (ready * cfg.target)
  if math.abs(ratio - 1) <= cfg.tolerance then
    return now
  elseif ratio < 1 then
    return math.ceil(ratio * ready)
  end
  ratio = metric / (now * cfg.target)
  return if ratio <= 1 + cfg.tolerance then now else math.ceil(ratio * now)
end

local function recommend(pool, metric, now_us)
  local now = pool.ready + pool.loading
  if #told == 0 then
    table.insert(told, { at = now_us, n = now })
  end
  local want = wanted(pool, metric)
  table.insert(told, { at = now_us, n = want })
  while #told > 1 and told[1].at <= now_us - cfg.down_window_s * 1e6 do
    table.remove(told, 1)
  end
  local highest = want
  for _, other in told do
    highest = math.max(highest, other.n)
  end
  local most = math.max(now * (1 + cfg.up_percent / 100), now + cfg.up_instances)
  return math.min(math.min(math.max(now, want), highest), most)
end

return {
  replicas = function(pool, cluster)
    local metric = pool.in_flight + pool.held
    if pool.ready + pool.loading == 0 then
      -- As many as there is work for, by a metric that is not read from instances.
      return math.min(math.ceil(metric / cfg.target), math.max(cfg.up_instances, 1))
    end
    return recommend(pool, metric, cluster.now_us)
  end,
}
