-- A little work all the time.
local n = 0
return {
  route = function(req, insts, cluster)
    return 1 + req.serial % #insts
  end,
  tick_us = 1000,
  on_tick = function(cluster)
    for i = 1, 100000 do
      n += i
    end
  end,
}
