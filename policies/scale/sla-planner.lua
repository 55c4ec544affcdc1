-- SLA planner: the load that is predicted over what an instance does within the targets.
--
-- Rule: tokens per second of the next interval, by the predictor, over those of an instance (what
-- it did, times the slack of its latencies against their targets, smoothed), with headroom.
-- Source: NVIDIA Dynamo's planner, which knows from profiles what is learned here; the built-in
-- `sla-planner` decides the same.
--@param ttft_ms = 0, 0..1e6  target for the mean time to first token, milliseconds; 0: the run's
--@param itl_ms = 0, 0..1e6  target for the mean inter-token latency, milliseconds; 0: the run's
--@param predictor = 2, 0..2 int  0: as the last interval, 1: mean of the window, 2: its trend
--@param window = 5, 1..1000 int  how many intervals the predictor looks at
--@param tokens_per_second = 0, 0..1e9  tokens of an instance within the targets; 0: learned
--@param smoothing = 0.3, 1e-9..1  weight of the last interval in what is learned
--@param headroom = 0.1, 0..0.9  share of an instance that is left free

local learned, completed, output_tokens = 0, 0, 0
local loads = {}

-- How much more could have been done, by a latency: half to twice.
local function slack(target_us, latency_us)
  if target_us > 0 and latency_us > 0 then
    return math.clamp(target_us / latency_us, 0.5, 2)
  end
  return math.huge
end

local function predicted()
  local n, sum = #loads, 0
  for _, load in loads do
    sum += load
  end
  local mean = sum / n
  if cfg.predictor == 0 or n < 2 then
    return loads[n]
  elseif cfg.predictor == 1 then
    return mean
  end
  -- The line of least squares through the window, one interval on.
  local middle = (n - 1) / 2
  local rise, spread = 0, 0
  for k, load in loads do
    local x = k - 1 - middle
    rise += x * (load - mean)
    spread += x * x
  end
  return math.max(mean + rise / spread * (n - middle), 0)
end

local function learn(pool, seconds)
  if pool.ready == 0 or pool.completed == 0 then
    return
  end
  local ttft_us = if cfg.ttft_ms > 0 then cfg.ttft_ms * 1000 else pool.slo_ttft_us
  local itl_us = if cfg.itl_ms > 0 then cfg.itl_ms * 1000 else pool.slo_itl_us
  local by = math.min(slack(ttft_us, pool.ttft_mean_us), slack(itl_us, pool.itl_mean_us))
  if by == math.huge then
    return
  end
  local tokens = pool.completed_prompt_tokens + pool.completed_output_tokens
  local each = tokens / seconds / pool.ready * by
  learned = if learned > 0 then learned + cfg.smoothing * (each - learned) else each
end

return {
  replicas = function(pool)
    local seconds = pool.interval_us / 1e6
    completed += pool.completed
    output_tokens += pool.completed_output_tokens
    local mean_output = if completed == 0 then 0 else output_tokens / completed
    local came = pool.arrived_prompt_tokens + pool.arrived * mean_output
    table.insert(loads, came / seconds)
    if #loads > cfg.window then
      table.remove(loads, 1)
    end
    learn(pool, seconds)
    local each = if cfg.tokens_per_second > 0 then cfg.tokens_per_second else learned
    local now = pool.ready + pool.loading
    if each <= 0 then
      -- Nothing is known yet; somebody has to serve what waits.
      return if pool.held > 0 then math.max(now, 1) else now
    end
    local wanted = math.ceil(predicted() / (each * (1 - cfg.headroom)))
    return if pool.held > 0 or pool.in_flight > 0 then math.max(wanted, 1) else wanted
  end,
}
