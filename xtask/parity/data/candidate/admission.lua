return { admit = function(req, cluster) return req.prompt_tokens < 4000 end }
