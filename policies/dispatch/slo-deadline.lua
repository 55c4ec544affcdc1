-- SLO deadline: the highest priority first; of that, from the tenant of the first to come (with
-- turns, one after the other), the request whose target passes first.
--
-- Rule: the highest class_priority, then its tenant's turn, then the least due_us, without one
-- last, then the least sequence.
-- Source: BLIS (`--dispatch-order slo-deadline`, `--fairness-policy`); the built-in `slo-deadline`
-- decides the same.
--@param turns = 0, 0..1 int  1: tenants one after the other; 0: who came first goes first

local last = {}

return {
  next_held = function(held)
    local top = held[1].class_priority
    local begins, flows = {}, {}
    for i, req in ipairs(held) do
      if req.class_priority ~= top then
        break
      elseif begins[req.flow] == nil then
        begins[req.flow] = i
        table.insert(flows, req.flow)
      end
    end
    local chosen = 1
    if cfg.turns > 0 then
      local at = table.find(flows, last[top])
      chosen = if at then at % #flows + 1 else 1
      last[top] = flows[chosen]
    else
      for k, flow in ipairs(flows) do
        if held[begins[flow]].sequence < held[begins[flows[chosen]]].sequence then
          chosen = k
        end
      end
    end
    local flow = flows[chosen]
    local best, least = nil, nil
    for i = begins[flow], #held do
      local req = held[i]
      if req.class_priority ~= top or req.flow ~= flow then
        break
      end
      local due = if req.due_us == 0 then math.huge else req.due_us
      if best == nil or due < least then
        best, least = i, due
      end
    end
    return best
  end,
}
