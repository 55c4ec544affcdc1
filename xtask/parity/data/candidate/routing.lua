return { score = function(req, inst, cluster) return -inst.in_flight end }
