-- Who comes in: everybody while the cluster has room; beyond that the classes that may be shed go first.
--@param most_waiting = 16, 1..1000  Requests waiting per instance that count as too many
--@param most_kv = 0.95, 0.1..1  KV utilisation that counts as too high
--@param patience = 4, 1..100  How many times that load important classes still get in

local function load_of(cluster)
  local waiting, used = 0, 0
  for _, inst in ipairs(cluster.instances) do
    waiting += inst.queue_depth
    used += inst.kv_utilization
  end
  return math.max(waiting / cluster.n / cfg.most_waiting, used / cluster.n / cfg.most_kv)
end

return {
  admit = function(req, cluster)
    local load = load_of(cluster)
    local most = if req.class_priority < 0 then 1 else cfg.patience
    if load > most then
      return false, "overloaded"
    end
    return true
  end,
}
