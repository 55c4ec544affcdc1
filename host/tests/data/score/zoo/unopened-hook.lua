-- A hook that the suite does not open.
return {
  victim = function(batch)
    return 1
  end,
}
