-- AIMD concurrency limit: as many requests at once as the cluster takes without slow first tokens. The limit grows by one with every good answer
-- while it is used, and shrinks by a tenth with every bad one.
--
-- Rule: admit if inside < limit. At the end of a request: if it failed or its TTFT is above the timeout, limit = floor(limit * backoff); else if
-- it began with at least half the limit inside, limit + 1; always within [least, most].
-- Source: Netflix/concurrency-limits, AIMDLimit, with its defaults (20, 20 to 200, 0.9, 5 s; with these the limit never falls below where it
-- starts). It measures whole round trips; TTFT stands for them here, since an LLM's answer takes as long as it is long (ours).
--@param initial = 20, 1..1e6 int log  Limit at the start
--@param least = 20, 1..1e6 int log  Least limit
--@param most = 200, 1..1e6 int log  Greatest limit
--@param backoff = 0.9, 0.5..0.999  Factor after a bad answer
--@param timeout_ms = 5000, 1..600000 log  TTFT above this is bad, ms

local limit, count = cfg.initial, 0
local inside = {} -- by request: how many were inside when it came in, itself included

local function left(ev)
  local began = inside[ev.serial]
  if began then
    inside[ev.serial] = nil
    count -= 1
  end
  return began
end

return {
  admit = function(req, cluster)
    if count >= limit then
      return false, string.format("concurrency limit %d", limit)
    end
    count += 1
    inside[req.serial] = count
    return true
  end,

  on_complete = function(ev)
    local began = left(ev)
    if ev.outcome ~= 0 or ev.ttft_us > cfg.timeout_ms * 1000 then
      limit = math.floor(limit * cfg.backoff)
    elseif began and 2 * began >= limit then
      limit += 1
    end
    limit = math.clamp(limit, cfg.least, math.max(cfg.least, cfg.most))
  end,

  on_reject = left, -- admitted, but nowhere to go
}
