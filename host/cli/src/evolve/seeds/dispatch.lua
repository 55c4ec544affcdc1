return {
  dispatch = function(held, gateway, cluster)
    local best = 1
    for i, req in ipairs(held) do
      local first = held[best]
      if req.class_priority > first.class_priority
        or req.class_priority == first.class_priority and req.sequence < first.sequence then
        best = i
      end
    end
    return best
  end,
}
