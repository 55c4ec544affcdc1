--@param per_instance = 32, 1..10000 log  Requests in flight of an instance

return {
  replicas = function(pool, cluster)
    return math.ceil((pool.in_flight + pool.held) / cfg.per_instance)
  end,
}
