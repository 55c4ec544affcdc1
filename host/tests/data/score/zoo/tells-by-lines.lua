-- Fails in a line that tells what it has seen.
return {
  route = function(req, insts, cluster)
    local n = req.prompt_tokens
    if n > 1200 then
      error('a')
    elseif n > 1000 then
      error('b')
    elseif n > 900 then
      error('c')
    end
    return 1 + req.serial % #insts
  end,
}
