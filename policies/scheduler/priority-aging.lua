-- Priority with aging: the most urgent first, but waiting makes everybody more urgent, so nobody starves.
--
-- Rule: urgency = priority - waited / step, smallest first. All age at the same rate, so arrival / step + priority says the same once and for all
-- and is never asked again.
-- Source: no paper with these parameters was found; the formula is the textbook's and the step ours. The built-in priority `slo-based` is the
-- same with one step per second, given as a priority.
--@param step_s = 10, 0.001..3600 log  Waiting time that makes up for one step of priority, seconds

return {
  key = function(req)
    return req.priority + req.arrival_us / (cfg.step_s * 1e6)
  end,
}
