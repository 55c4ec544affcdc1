-- Nobody waits long where nobody is let in.
return {
  admit = function(req, cluster)
    return false, 'closed'
  end,
}
