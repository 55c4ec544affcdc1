-- A loop that anybody can see never ends.
return {
  route = function(req, insts, cluster)
    while true do
    end
    return 1
  end,
}
