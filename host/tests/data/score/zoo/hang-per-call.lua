-- Never answers.
return {
  route = function(req, insts, cluster)
    local n = 0
    while n >= 0 do
      n += 1
    end
    return 1
  end,
}
