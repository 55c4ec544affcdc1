-- KEDA: none while the pool is idle, one at once when requests come, in between as
-- hpa-concurrency.
--
-- Rule: idle for the cooldown: none; active: at least one; else what `hpa-concurrency` recommends,
-- and at least one.
-- Source: KEDA's ScaledObject (minReplicaCount 0, cooldownPeriod); the built-in `keda` decides the
-- same.
--@param target = 32, 1e-9..1e6  requests of an instance, held ones included
--@param activation = 0, 0..1e6  requests up to which the pool counts as idle
--@param cooldown_s = 300, 0..86400  seconds for which it is idle before all instances go
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

local active_us

return {
  replicas = function(pool, cluster)
    local now_us = cluster.now_us
    local metric = pool.in_flight + pool.held
    local active = metric > cfg.activation
    if active or active_us == nil then
      active_us = now_us
    end
    local between = recommend(pool, metric, now_us)
    if active then
      return math.max(between, 1)
    end
    local idle = now_us - active_us >= cfg.cooldown_s * 1e6
    if idle or pool.ready + pool.loading == 0 then
      return 0
    end
    return math.max(between, 1)
  end,
}
