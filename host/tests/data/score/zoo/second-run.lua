-- Breaks as soon as its state survives a run (the longest has 300 requests).
local calls = 0
return {
  route = function(req, insts, cluster)
    calls += 1
    -- In its first run it would send all to one; fresh state makes every run the first.
    if calls > 300 then
      error('seen ' .. calls .. ' calls, so something outlived a run')
    end
    return 1 + calls % #insts
  end,
}
