-- A text that doubles for ever.
return {
  route = function(req, insts, cluster)
    local text = 'x'
    while #text > 0 do
      text = text .. text
    end
    return 1
  end,
}
