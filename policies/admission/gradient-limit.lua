-- Gradient concurrency limit: compares the latency of the last answer with its long-term mean and lowers the number of requests at once when
-- answers get slower; some slack lets it grow again.
--
-- Rule: at the end of a request, with short = its TTFT and long = exponential mean over 600 of them (the plain mean of the first 10; times 0.95
-- if it is above 2 * short): if fewer than half the limit were inside when it began, nothing; else gradient = clamp(tolerance * long / short,
-- 0.5, 1), limit = 0.8 * limit + 0.2 * (limit * gradient + 4), within [least, most].
-- Source: Netflix/concurrency-limits, Gradient2Limit, with its defaults. TTFT stands for its round trip (ours); failed requests give no sample,
-- as there.
--@param initial = 20, 1..1e6 int log  Limit at the start
--@param least = 20, 1..1e6 int log  Least limit
--@param most = 200, 1..1e6 int log  Greatest limit
--@param tolerance = 1.5, 1..10  How much slower than the long-term mean is still fine

local limit, count = cfg.initial, 0
local inside = {} -- by request: how many were inside when it came in, itself included
local samples, long = 0, 0

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
    if count >= math.floor(limit) then
      return false, string.format("concurrency limit %d", math.floor(limit))
    end
    count += 1
    inside[req.serial] = count
    return true
  end,

  on_complete = function(ev)
    local began = left(ev)
    local short = ev.ttft_us
    if not began or ev.outcome ~= 0 or short <= 0 then
      return
    end
    samples += 1
    long += (short - long) * (if samples <= 10 then 1 / samples else 2 / 601)
    local mean = long
    if long > 2 * short then
      long *= 0.95
    end
    if began < limit / 2 then
      return
    end
    local gradient = math.clamp(cfg.tolerance * mean / short, 0.5, 1)
    limit = 0.8 * limit + 0.2 * (limit * gradient + 4)
    limit = math.clamp(limit, cfg.least, math.max(cfg.least, cfg.most))
  end,

  on_reject = left, -- admitted, but nowhere to go
}
