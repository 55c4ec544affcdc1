-- Works until it matters.
return {
  route = function(req, insts, cluster)
    local waiting = 0
    for _, inst in insts do
      waiting += inst.in_flight
    end
    if waiting > 60 and req.prompt_tokens > 900 then
      error('too much of it')
    end
    return 1 + req.serial % #insts
  end,
}
