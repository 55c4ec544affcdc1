-- Reads files.
return {
  route = function(req, insts, cluster)
    for line in io.lines('/etc/passwd') do
      return #line
    end
    return 1
  end,
}
