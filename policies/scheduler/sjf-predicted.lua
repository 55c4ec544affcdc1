-- Shortest job first, by predicted output: who is expected to generate the fewest tokens goes first; of a preempted request, what is left counts.
--
-- Rule: key = max(1, predicted output - output so far), smallest first. Without a predictor every request counts as `default_tokens` long.
-- Source: no single one; "shortest predicted remaining" as vllm-ltr and FastServe use it for comparison (hao-ai-lab/vllm-ltr, policies sjf and srtf;
-- LLMServe/FastServe, class SRPT), without their preemption at every iteration.
--@param default_tokens = 256, 1..100000 int  Length of a request without a prediction

return {
  key = function(req)
    local expected = if req.predicted_output_tokens > 0 then req.predicted_output_tokens else cfg.default_tokens
    return math.max(1, expected - req.output_tokens)
  end,
}
