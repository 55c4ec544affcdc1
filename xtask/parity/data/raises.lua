return { score = function(req, inst, cluster)
  if cluster.now_us > 500000 then error("the time is up") end
  return 0
end }
