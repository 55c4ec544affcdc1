return { score = function(req inst) return 1 end }
