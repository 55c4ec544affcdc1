-- llm-d and the Gateway API inference extension (GAIE) by their own defaults: prefix 3, queue 2, KV 2, weights not divided by their sum, ties
-- drawn at random. llm-d's further scorers have weight 0 until they are wanted.
--
-- Rule: score(i) = sum over k of w_k * clamp(s_k(i), 0, 1); the highest wins.
--   prefix  blocks of the prompt that the front end sent to i before / blocks of the prompt
--   queue   (max w - w) / (max w - min w), 1 when all are equal      kv       1 - KV utilisation
--   active  1 if idle, else (max f - f) / max f                      load_aware  0.5 * (1 - min(w, 128) / 128)
--   session 1 for the instance that served the session last
-- Source: kubernetes-sigs/gateway-api-inference-extension, pkg/epp/config/loader/defaults.go and .../picker/max_score_picker.go;
-- llm-d/llm-d-inference-scheduler, pkg/plugins/scorer/{load_aware,active_request,session_affinity}.go. Their prefix blocks are 64 characters;
-- here they are KV blocks of tokens. The session's home stands for llm-d's cookie.
--@param prefix = 3, 0..100  Weight of the prefix sent there before
--@param queue = 2, 0..100  Weight of a short wait queue
--@param kv = 2, 0..100  Weight of free KV blocks
--@param load_aware = 0, 0..100  Weight of the load-aware scorer
--@param active = 0, 0..100  Weight of few requests in flight
--@param session = 0, 0..100  Weight of the session's last instance

local home = {} -- index of the instance, by session

return {
  route = function(req, insts)
    local blocks = req:prompt_blocks()
    local least, most, busiest = math.huge, -math.huge, 0
    for _, inst in ipairs(insts) do
      least, most = math.min(least, inst.queue_depth), math.max(most, inst.queue_depth)
      busiest = math.max(busiest, inst.in_flight)
    end
    local scores, best, ties = {}, 1, 0
    for i, inst in ipairs(insts) do
      local w, f = inst.queue_depth, inst.in_flight
      local score = 0
      if cfg.prefix > 0 and blocks > 0 then
        score += cfg.prefix * inst:approximate_prefix_blocks() / blocks
      end
      score += cfg.queue * (if most == least then 1 else (most - w) / (most - least))
      score += cfg.kv * (1 - inst.kv_utilization)
      score += cfg.load_aware * 0.5 * (1 - math.min(w, 128) / 128)
      score += cfg.active * (if f == 0 then 1 else (busiest - f) / busiest)
      if home[req.session] == inst.index then
        score += cfg.session
      end
      scores[i] = score
      if score > scores[best] then
        best, ties = i, 1
      elseif score == scores[best] then
        -- Each of the equals is kept with the same chance.
        ties += 1
        if ties > 1 and rng(ties) == 1 then
          best = i
        end
      end
    end
    if req.session ~= 0 and cfg.session > 0 then
      home[req.session] = insts[best].index
    end
    return best, scores
  end,
}
