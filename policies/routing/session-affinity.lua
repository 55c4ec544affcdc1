-- Session affinity by consistent hashing with bounded loads: a session keeps its instance, so its earlier rounds are found in the cache, unless
-- that instance has too much to do; then it goes to the next one on the ring that has room.
--
-- Rule: every instance has `points` points on a ring, at hash(hash(instance * 65536 + k)); a session stands at hash(hash(session)) and goes
-- clockwise to the first instance with in_flight + 1 <= ceil(load_bound * (requests in flight + 1) / n). Without a session: fewest in flight, the
-- first among equals.
-- Source: "Consistent Hashing with Bounded Loads", arXiv 1608.01350; vllm-project/production-stack, routing_logic.py (sessions on a ring, no
-- bound). HAProxy and Envoy ship the bound as hash-balance-factor, SGLang's gateway as 1.5 times the mean. plugins/session-affinity is the
-- compiled twin.
--@param load_bound = 1.5, 1..100 log  Most requests in flight on an instance, as a multiple of the mean
--@param points = 100, 1..10000 log int  Points of each instance on the hash ring

local ring = {}
for index = 1, setup.instances do
  for k = 1, cfg.points do
    table.insert(ring, { at = hash(hash(index * 65536 + k)), index = index })
  end
end
table.sort(ring, function(a, b)
  return if a.at == b.at then a.index < b.index else a.at < b.at
end)

-- The first point of the ring at or after `at`.
local function clockwise(at)
  local low, high = 1, #ring + 1
  while low < high do
    local middle = (low + high) // 2
    if ring[middle].at < at then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

return {
  route = function(req, insts)
    local total, idlest = 0, 1
    for i, inst in ipairs(insts) do
      total += inst.in_flight
      if inst.in_flight < insts[idlest].in_flight then
        idlest = i
      end
    end
    if req.session == 0 then
      return idlest
    end
    local room = math.ceil(cfg.load_bound * (total + 1) / #insts)
    local start = clockwise(hash(hash(req.session)))
    for k = 0, #ring - 1 do
      local i = ring[(start + k - 1) % #ring + 1].index
      if insts[i].in_flight + 1 <= room then
        return i
      end
    end
    return idlest -- cannot be: somebody is at or below the mean
  end,
}
