-- Priority: the highest priority first, and of that the first to come; with turns, its tenants one
-- after the other.
--
-- Rule: the highest class_priority, then the least sequence; with turns, of the tenant behind the
-- last one of that priority.
-- Source: BLIS (`--dispatch-order priority`, `--fairness-policy`); the built-in `priority` decides
-- the same.
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
    return begins[flows[chosen]]
  end,
}
