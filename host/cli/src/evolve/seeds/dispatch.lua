--@param seconds_per_level = 5, 0.01..3600 log  Waiting that is worth a level of priority, seconds

return {
  next_held = function(held, gateway, cluster)
    local best, most = nil, -math.huge
    for i, req in ipairs(held) do
      local waited = (cluster.now_us - req.enqueued_us) / 1e6
      local worth = req.class_priority + waited / cfg.seconds_per_level
      if worth > most then
        best, most = i, worth
      end
    end
    return best
  end,
}
