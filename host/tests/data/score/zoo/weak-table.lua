-- What a weak table loses, and when, depends on the garbage collector.
return {
  route = function(req, insts)
    local seen = setmetatable({}, { __mode = "k" })
    seen[insts] = 1
    return 1
  end,
}
