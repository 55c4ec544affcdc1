-- Virtual Token Counter: fairness between tenants. Each tenant has a counter of the service it got; the waiting tenant with the least goes first,
-- and one that comes back after a pause gets no credit for it.
--
-- Rule: counter += input_price * prompt_tokens when a request is chosen, += output_price per generated token. A tenant without waiting requests
-- that sends one is lifted to the least counter of those that wait. Inside a tenant, and between equals, who came first goes first.
-- Source: "Fairness in Serving Large Language Models", arXiv 2401.00588; Ying1123/VTC-artifact, slora/server/router/vtc_req_queue.py: prices 1
-- and 2, no lift if nobody else waits. Here generated tokens are learned when the queue is ordered or the request ends, not one by one, and a
-- choice when it shows in the batch. Cached prompts are charged in full, a preempted request's prompt once.
--@param input_price = 1, 0..100  Price of a prompt token
--@param output_price = 2, 0..100  Price of a generated token

local counter = {} -- by tenant
local tenants = {} -- in order of first appearance
local queued = {} -- requests that wait, by tenant
local open = {} -- requests on this instance, by serial
local entries = 0

local function chosen(one)
  if one.waits then
    one.waits = false
    queued[one.tenant] -= 1
    if not one.charged then
      one.charged = true
      counter[one.tenant] += cfg.input_price * one.prompt
    end
  end
end

local function generated(one, output_tokens)
  if output_tokens > one.output then
    counter[one.tenant] += cfg.output_price * (output_tokens - one.output)
    one.output = output_tokens
  end
end

local function least_counter()
  local least = math.huge
  for _, tenant in ipairs(tenants) do
    if queued[tenant] > 0 then
      least = math.min(least, counter[tenant])
    end
  end
  return least
end

return {
  order = function(waiting, running)
    for _, req in ipairs(running) do
      chosen(open[req.serial])
      generated(open[req.serial], req.output_tokens)
    end
    -- Choose as if everybody fitted; a request's key is its turn.
    local lines, ahead, keys = {}, {}, {}
    for i, req in ipairs(waiting) do
      local one = open[req.serial]
      one.at = i
      lines[one.tenant] = lines[one.tenant] or {}
      table.insert(lines[one.tenant], one)
    end
    for tenant, line in pairs(lines) do
      table.sort(line, function(a, b) return a.entry > b.entry end)
      ahead[tenant] = counter[tenant]
    end
    for turn = 1, #waiting do
      local first
      for _, tenant in ipairs(tenants) do
        local line = lines[tenant]
        if line and #line > 0 and (not first or ahead[tenant] < ahead[first]) then
          first = tenant
        end
      end
      local one = table.remove(lines[first])
      keys[one.at] = turn
      if not one.charged then
        ahead[first] += cfg.input_price * one.prompt
      end
    end
    return keys
  end,

  on_dispatch = function(ev)
    local tenant = ev.tenant
    if not counter[tenant] then
      counter[tenant], queued[tenant] = 0, 0
      table.insert(tenants, tenant)
    end
    if queued[tenant] == 0 then
      local least = least_counter()
      if least < math.huge then
        counter[tenant] = math.max(counter[tenant], least)
      end
    end
    queued[tenant] += 1
    entries += 1
    open[ev.serial] = { tenant = tenant, prompt = ev.prompt_tokens, entry = entries, output = 0, waits = true, charged = false }
  end,

  on_first_token = function(ev)
    chosen(open[ev.serial])
  end,

  on_preempt = function(ev)
    local one = open[ev.serial]
    chosen(one)
    generated(one, ev.output_tokens)
    one.waits = true
    queued[one.tenant] += 1
  end,

  on_complete = function(ev)
    local one = open[ev.serial]
    if one then
      if one.waits and ev.outcome ~= 0 then
        one.charged = true -- it left the queue unserved
      end
      chosen(one)
      generated(one, ev.output_tokens)
      open[ev.serial] = nil
    end
  end,
}
