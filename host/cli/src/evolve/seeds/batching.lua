-- How much a step takes: fewer new tokens while somebody decodes, and some places stay free.
--@param tokens_beside_decodes = 1024, 1..100000 int  Most new tokens of a step with decodes
--@param places_kept = 0, 0..64 int  Places of the batch that stay free

return {
  batch = function(step, head, queue)
    local limits = { max_admissions = math.max(1, step.free_places - cfg.places_kept) }
    if step.decoding > 0 then
      limits.max_new_tokens = math.max(cfg.tokens_beside_decodes, step.decoding)
    end
    return limits
  end,
}
