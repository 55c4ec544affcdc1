-- Never answers, and catches whoever tells it to.
return {
  route = function(req, insts, cluster)
    local n = 0
    while n >= 0 do
      pcall(function()
        while n >= 0 do
          n += 1
        end
      end)
    end
    return 1
  end,
}
