-- Errors that are caught cost next to no instructions, and much time.
return {
  route = function(req, insts)
    for i = 1, 5000 do
      pcall(string.rep, "x", 3e7)
    end
    return 1
  end,
}
