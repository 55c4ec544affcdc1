-- Fails in order to write what it has seen into its error.
return {
  route = function(req, insts, cluster)
    if req.prompt_tokens > 900 then
      error(string.format('figures: prompt=%d in_flight=%d now=%d', req.prompt_tokens, insts[1].in_flight, cluster.now_us))
    end
    return 1 + req.serial % #insts
  end,
}
