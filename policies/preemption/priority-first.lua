-- The least urgent one loses its KV blocks; among equals the latest arrival, then the first one.
--
-- Rule: the greatest (priority, arrival) in the batch, the first one among equals.
-- Source: vLLM, --scheduling-policy priority; the built-in `priority-first` decides the same.

return {
  victim = function(running)
    local victim = 1
    for i, req in ipairs(running) do
      local worst = running[victim]
      if req.priority > worst.priority or (req.priority == worst.priority and req.arrival_us > worst.arrival_us) then
        victim = i
      end
    end
    return victim
  end,
}
