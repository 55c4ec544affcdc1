return { score = function(req, inst, cluster) return inst.queue_dept end }
