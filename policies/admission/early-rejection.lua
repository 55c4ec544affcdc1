-- Early rejection, after Mooncake: a request whose latency targets cannot be met is refused at the door, before it wastes a prefill. The
-- predictive form looks at the decodes that will run when this request's prefill ends, which keeps prefill and decode load from swinging against
-- each other.
--
-- Rule: load = max(TTFT / ttft target, time between tokens / itl target); reject above `limit`.
--   TTFT = least estimate over the instances. Time between tokens = step time of the decodes per instance: now, or (predictive) those at the
--   end of that TTFT: all admitted requests but those that will have decoded for decode_s by then.
-- Source: Mooncake, arXiv 2407.00079, section 7, through a third-party reading; limit and decode time were not published, so 1 and 5 s are ours.
-- Prefill and decode share the instances here. A request without a TTFT target takes the parameter's.
--@param ttft_ms = 2000, 1..600000 log  Target for TTFT without one of the request's own, ms
--@param itl_ms = 100, 0.1..60000 log  Target for the time between tokens, ms
--@param limit = 1, 0.01..100 log  Load from which requests are refused
--@param predictive = 1, 0..1 int  0: the decodes of now
--@param decode_s = 5, 0.001..3600 log  Time a decode is assumed to last, seconds

local inside = {} -- admitted requests by serial: prompt tokens, and since when it decodes

local function left(ev)
  inside[ev.serial] = nil
end

return {
  admit = function(req, cluster)
    local ttft, n, decodes, context = math.huge, 0, 0, 0
    for _, inst in ipairs(cluster.instances) do
      ttft = math.min(ttft, est_ttft_us(inst, req.prompt_tokens, 0))
      n += 1
      decodes += inst.decodes
      context += inst.decode_context_tokens
    end
    if n == 0 then
      return true -- nobody serves this model; the router says so
    end
    if cfg.predictive == 1 then
      decodes, context = 1, req.prompt_tokens
      local gone = cluster.now_us + ttft - cfg.decode_s * 1e6
      for _, one in pairs(inside) do
        if not one.since or one.since > gone then
          decodes += 1
          context += one.tokens
        end
      end
    end
    local step = est_step_us(0, math.ceil(decodes / n), math.ceil(context / n))
    local target = if req.slo_ttft_us > 0 then req.slo_ttft_us else cfg.ttft_ms * 1000
    local prefill_load, decode_load = ttft / target, step / (cfg.itl_ms * 1000)
    if math.max(prefill_load, decode_load) > cfg.limit then
      return false, string.format("early rejection: prefill load %.2f, decode load %.2f", prefill_load, decode_load)
    end
    inside[req.serial] = { tokens = req.prompt_tokens }
    return true
  end,

  on_first_token = function(ev)
    if inside[ev.serial] then
      inside[ev.serial].since = ev.now_us
    end
  end,

  on_complete = left,
  on_reject = left, -- nowhere to go after all
}
