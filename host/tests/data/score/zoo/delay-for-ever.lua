-- Come back in a microsecond, always.
return {
  admit = function(req, cluster)
    return delay(1)
  end,
}
