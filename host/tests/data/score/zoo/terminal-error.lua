-- An error that paints the terminal.
return {
  route = function(req, insts, cluster)
    error('\27[2J\27]0;owned\7\nerror: fake line\r\0')
  end,
}
