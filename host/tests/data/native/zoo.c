/* The policies of policies.rs, in C. */
#include "windtunnel_plugin.h"

#include <stdio.h>
#include <stdlib.h>

#ifndef MINOR
#define MINOR WT_API_MINOR
#endif
#ifndef MAJOR
#define MAJOR WT_API_MAJOR
#endif

typedef struct {
    uint32_t longest, vip, ticks;
} gate;

static int32_t gate_new(const wt_setup *setup, void **state, wt_text *why) {
    gate *made;
    if (setup->params[0] == 13.0) {
        snprintf(why->data, why->capacity, "13 brings bad luck");
        return 1;
    }
    made = calloc(1, sizeof *made);
    made->longest = (uint32_t)setup->params[0] + setup->instances + (uint32_t)(setup->slots % 2);
    made->vip = wt_symbol(setup, "vip");
    *state = made;
    return 0;
}

static uint64_t nothing(const void *state) {
    (void)state;
    return 0;
}

static int64_t gate_tick_us(const void *state) {
    (void)state;
    return 700;
}

static int32_t gate_admit(void *state, const wt_request_view *request, const wt_cluster_view *cluster,
                          wt_admit *answer, wt_text *why) {
    const gate *g = state;
    (void)cluster;
    if (request->tenant != g->vip && request->prompt_tokens + g->ticks > g->longest) {
        answer->kind = WT_REJECT;
        snprintf(why->data, why->capacity, "longer than %u", g->longest);
    } else if (request->serial % 5 == 4 && request->attempts == 0) {
        answer->kind = WT_DELAY;
        answer->delay_us = 50;
    }
    return 0;
}

static int32_t gate_tick(void *state, const wt_cluster_view *cluster, wt_text *why) {
    (void)cluster;
    (void)why;
    ((gate *)state)->ticks++;
    return 0;
}

typedef struct {
    uint64_t heard;
    double scores[64];
    uint32_t count;
} spread;

static int32_t spread_new(const wt_setup *setup, void **state, wt_text *why) {
    (void)setup;
    (void)why;
    *state = calloc(1, sizeof(spread));
    return 0;
}

static uint64_t spread_interests(const void *state) {
    (void)state;
    return WT_READS_COUNTERS | WT_READS_SNAPSHOTS | WT_HEARS_LIFECYCLE | WT_READS_WORK;
}

static int32_t spread_route(void *state, const wt_request_view *request,
                            const wt_cluster_view *cluster, wt_route *answer, wt_text *why) {
    spread *s = state;
    uint32_t n = cluster->instances.len, best = 0;
    uint64_t first;
    (void)why;
    if (request->serial % 11 == 10 && request->attempts == 0) {
        answer->kind = WT_HOLD;
        answer->retry_after_us = 30;
        return 0;
    }
    first = (request->serial + s->heard + wt_random(cluster->host) % 2) % n;
    s->count = n;
    for (uint32_t i = 0; i < n; i++) {
        const wt_instance_view *instance = wt_instance(cluster->instances, i);
        double ttft = wt_est_ttft_us(cluster->host, instance, request->prompt_tokens, 0);
        s->scores[i] = (i == first ? 1000.0 : 0.0) - ttft - (double)instance->in_flight;
        if (s->scores[i] > s->scores[best]) {
            best = i;
        }
    }
    answer->index = best;
    return 0;
}

static const double *spread_scores(const void *state, uint32_t *count) {
    *count = ((const spread *)state)->count;
    return ((const spread *)state)->scores;
}

static void spread_reason(const void *state, wt_text *text) {
    snprintf(text->data, text->capacity, "heard %llu", (unsigned long long)((const spread *)state)->heard);
}

static int32_t spread_event(void *state, const wt_event *event, wt_text *why) {
    (void)why;
    ((spread *)state)->heard += event->kind == WT_COMPLETE;
    return 0;
}

static int64_t age_refresh(const void *state) {
    (void)state;
    return 500;
}

static int32_t age(void *state, const wt_request_view *request, const wt_queue_view *queue,
                   double *answer, wt_text *why) {
    (void)state;
    (void)why;
    *answer = -(double)(queue->now_us - request->arrival_us) - 300.0 * request->class_priority;
    return 0;
}

static int32_t short_new(const wt_setup *setup, void **state, wt_text *why) {
    (void)setup;
    (void)why;
    *state = calloc(1, sizeof(uint32_t));
    return 0;
}

static int64_t short_order(const void *state) {
    (void)state;
    return WT_EACH_STEP;
}

static uint64_t short_interests(const void *state) {
    (void)state;
    return WT_HEARS_LIFECYCLE | WT_READS_RUNNING;
}

static int32_t short_key(void *state, const wt_queued_view *queued, const wt_queue_view *queue,
                         double *answer, wt_text *why) {
    uint32_t tokens = queued->request->prompt_tokens, running = 0;
    (void)why;
    for (uint32_t i = 0; i < queue->running.len; i++) {
        running += wt_running(queue->running, i)->computed_tokens;
    }
    *answer = (double)(tokens >> (*(uint32_t *)state % 4)) + (double)((running + tokens) % 3) +
              queued->priority / 1e6;
    return 0;
}

static int32_t short_event(void *state, const wt_event *event, wt_text *why) {
    (void)why;
    *(uint32_t *)state += event->kind == WT_COMPLETE;
    return 0;
}

static int32_t least(void *state, const wt_queue_view *queue, uint32_t *answer, wt_text *why) {
    uint32_t best = 0;
    (void)state;
    (void)why;
    for (uint32_t i = 1; i < queue->running.len; i++) {
        if (wt_running(queue->running, i)->computed_tokens <=
            wt_running(queue->running, best)->computed_tokens) {
            best = i;
        }
    }
    *answer = best;
    return 0;
}

static int32_t silent(void *state, const wt_request_view *request, const wt_cluster_view *cluster,
                      wt_route *answer, wt_text *why) {
    (void)state;
    (void)request;
    (void)cluster;
    (void)answer;
    (void)why;
    return 7;
}

static const wt_admission_fns gate_fns = {sizeof gate_fns, nothing, gate_tick_us, gate_admit, NULL, gate_tick};
static const wt_router_fns spread_fns = {sizeof spread_fns,  spread_interests, NULL,         spread_route,
                                         spread_scores, spread_reason,    spread_event, NULL};
static const wt_priority_fns age_fns = {sizeof age_fns, age_refresh, age};
static const wt_scheduler_fns short_fns = {sizeof short_fns, short_order, short_interests, short_key, NULL, short_event};
static const wt_victim_fns least_fns = {sizeof least_fns, least};
/* As of a version without what comes behind route. */
static const wt_router_fns silent_fns = {offsetof(wt_router_fns, scores), nothing, NULL, silent,
                                         (const double *(*)(const void *, uint32_t *))1, NULL, NULL, NULL};

static const wt_param gate_params[] = {
    {"longest", "Longest prompt that comes in.", 60, 1, 1000, WT_WHOLE | WT_LOG},
    {"idle", "Does nothing.", -0.5, -1, 1, 0},
};

static const wt_policy policies[] = {
    {WT_ADMISSION, 2, "gate", "Rejects long prompts, delays some.", gate_params, &gate_fns, gate_new, free},
    {WT_ROUTING, 0, "spread", NULL, NULL, &spread_fns, spread_new, free},
    {WT_PRIORITY, 0, "age", NULL, NULL, &age_fns, NULL, NULL},
    {WT_SCHEDULER, 0, "short", NULL, NULL, &short_fns, short_new, free},
    {WT_PREEMPTION, 0, "least", NULL, NULL, &least_fns, NULL, NULL},
    {WT_ROUTING, 0, "silent", NULL, NULL, &silent_fns, NULL, NULL},
};

const wt_plugin windtunnel_plugin = {
    WT_MAGIC, sizeof(wt_plugin), MAJOR, MINOR, "zoo", "0.0.7", policies, sizeof policies / sizeof *policies,
    sizeof(wt_policy), sizeof(wt_param), 0,
};
