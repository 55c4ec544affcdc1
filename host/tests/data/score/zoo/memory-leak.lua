-- Wants a little more memory each time.
local all = {}
return {
  route = function(req, insts, cluster)
    for i = 1, 50 do
      all[#all + 1] = string.rep('x', 4000 + #all)
    end
    return 1
  end,
}
