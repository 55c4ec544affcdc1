-- Ticks at every microsecond.
return {
  route = function(req, insts, cluster)
    return 1
  end,
  tick_us = 1,
  on_tick = function(cluster)
  end,
}
