-- Routing with a parameter, state that events and ticks change, and a random choice.
--@param bias = 1.5, 0..10  Weight of a request in flight
local served = {}
local age = 0
return {
  tick_us = 200000,
  score = function(req, inst, cluster)
    local luck = rng() / 100
    return luck - inst.queue_depth - cfg.bias * inst.in_flight - (served[inst.index] or 0) / (1000 + age)
  end,
  on_complete = function(ev)
    served[ev.instance] = (served[ev.instance] or 0) + 1
  end,
  on_tick = function(cluster)
    age = age + 1
  end,
}
