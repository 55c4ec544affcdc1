-- A key that is no number.
return {
  key = function(req)
    return 0 / 0
  end,
}
