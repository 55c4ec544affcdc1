--@param target = 32, 1..10000 log  Requests in flight of an instance

return {
  replicas = function(pool, cluster)
    return math.ceil((pool.in_flight + pool.held) / cfg.target)
  end,
}
