/* The hooks of contract 1.1 in C: a batching strategy and a disaggregation policy. */
#include "windtunnel_plugin.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t every_step(const void *state) {
    (void)state;
    return WT_READS_STEPS | WT_READS_WAITING;
}

/* One admission in a step with an even number; a request that waits since FAIL_AT_US is refused. */
static int32_t limits(void *state, const wt_step_view *step, const wt_queue_view *queue, wt_batch_limits *answer,
                      wt_text *why) {
    (void)state;
    if (queue->waiting.len > 0 && wt_waiting(queue->waiting, 0)->enqueued_us == FAIL_AT_US) {
        snprintf(why->data, why->capacity, "step %llu came too late", (unsigned long long)step->step);
        return 1;
    }
    answer->decodes_wait = 1;
    if (queue->batch_size > 0) {
        answer->max_admissions = step->step % 2 == 0;
    }
    return 0;
}

static const wt_batching_fns BATCHING_FNS = {sizeof(wt_batching_fns), every_step, limits};

static uint64_t completions(const void *state) {
    (void)state;
    return WT_HEARS_LIFECYCLE;
}

/* Prompts of more tokens go elsewhere; the output of every completed request makes it more. */
static int32_t forty(const wt_setup *setup, void **state, wt_text *why) {
    (void)setup;
    uint32_t *longest = malloc(sizeof *longest);
    if (longest == NULL) {
        snprintf(why->data, why->capacity, "no memory");
        return 1;
    }
    *longest = 40;
    *state = longest;
    return 0;
}

static int32_t learn(void *state, const wt_event *event, wt_text *why) {
    uint32_t *longest = state;
    if (event->kind == WT_COMPLETE) {
        if (event->output_tokens == ODD_OUTPUT) {
            snprintf(why->data, why->capacity, "an output of %u tokens", event->output_tokens);
            return 1;
        }
        *longest += event->output_tokens;
    }
    return 0;
}

static int32_t prefills_remotely(void *state, const wt_request_view *request, uint32_t decode,
                                 const wt_cluster_view *cluster, uint32_t *answer, wt_text *why) {
    const uint32_t *longest = state;
    (void)why;
    if (decode >= cluster->instances.len) {
        return 2;
    }
    *answer = request->prompt_tokens == ODD_PROMPT ? 7 : request->prompt_tokens > *longest;
    return 0;
}

static const wt_disaggregation_fns DISAGGREGATION_FNS = {sizeof(wt_disaggregation_fns), completions, prefills_remotely, learn};

static const wt_policy POLICIES[] = {
    {WT_BATCHING, 0, "even-steps", "Admits in every other step.", NULL, &BATCHING_FNS, NULL, NULL},
    {WT_DISAGGREGATION, 0, "long-prompts", "Sends long prompts elsewhere.", NULL, &DISAGGREGATION_FNS, forty, free},
};

const wt_plugin windtunnel_plugin = {WT_MAGIC, sizeof(wt_plugin), WT_API_MAJOR, WT_API_MINOR, "phases", "0.1.0",
                                     POLICIES, 2, sizeof(wt_policy), sizeof(wt_param), 0};
