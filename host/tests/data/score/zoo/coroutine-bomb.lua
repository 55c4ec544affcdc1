-- Coroutines without end.
return {
  route = function(req, insts, cluster)
    local all = {}
    while #all >= 0 do
      all[#all + 1] = coroutine.create(function() end)
    end
    return 1
  end,
}
