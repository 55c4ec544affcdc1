--@param tokens = 256, 0..100000 int  New tokens that an instance which decodes computes itself

return {
  disaggregate = function(req, inst, cluster)
    local new = req.prompt_tokens - inst:precise_prefix_blocks() * inst.block_size
    return new > cfg.tokens
  end,
}
