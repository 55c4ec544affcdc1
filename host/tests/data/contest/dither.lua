-- Puts every request off once, for no good reason: by 40 ms for each step that `steps` is away from 7 and each that `twist` is away from 0.3.
-- The best is to put off by nothing: steps 7, twist 0.3.
--@param steps = 1, 0..20 int  7 is best
--@param twist = 0.9, 0.01..10 log  0.3 is best

return {
  admit = function(req)
    local wait = 40000 * (math.abs(cfg.steps - 7) + math.abs(math.log(cfg.twist / 0.3)))
    if req.attempts == 0 and wait >= 1 then
      return delay(math.floor(wait))
    end
    return true
  end,
}
