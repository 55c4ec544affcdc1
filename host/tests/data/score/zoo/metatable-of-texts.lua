-- Changes what all texts can do.
return {
  route = function(req, insts, cluster)
    getmetatable('').__index = function()
      return 1
    end
    return 1
  end,
}
