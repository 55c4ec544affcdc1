-- No number at all.
return {
  score = function(req, inst)
    return 0 / 0
  end,
}
