-- Come back at once, always.
return {
  admit = function(req, cluster)
    return delay(0)
  end,
}
