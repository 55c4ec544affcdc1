/* Routing by fewest requests in flight, in C.
 *
 *     cc -std=c11 -O2 -shared -fPIC -I../../plugin-api/include least_requests.c -o libleast_requests.so
 */
#include "windtunnel_plugin.h"

#include <stdio.h>
#include <stdlib.h>

/* Requests this policy has sent so far, and the most it sends to one instance at once. */
typedef struct {
    uint32_t most;
    uint64_t sent;
} least_requests;

static int32_t create(const wt_setup *setup, void **state, wt_text *why) {
    least_requests *made = malloc(sizeof *made);
    if (made == NULL) {
        snprintf(why->data, why->capacity, "out of memory");
        return 1;
    }
    /* In the order in which the parameters are declared below. */
    made->most = (uint32_t)setup->params[0];
    made->sent = 0;
    *state = made;
    return 0;
}

static uint64_t interests(const void *state) {
    (void)state;
    return WT_READS_COUNTERS;
}

static int32_t route(void *state, const wt_request_view *request, const wt_cluster_view *cluster,
                     wt_route *answer, wt_text *why) {
    least_requests *policy = state;
    uint32_t best = 0;
    (void)request;
    if (cluster->instances.len == 0) {
        snprintf(why->data, why->capacity, "there are no instances");
        return 1;
    }
    for (uint32_t i = 1; i < cluster->instances.len; i++) {
        if (wt_instance(cluster->instances, i)->in_flight <
            wt_instance(cluster->instances, best)->in_flight) {
            best = i;
        }
    }
    if (policy->most > 0 && wt_instance(cluster->instances, best)->in_flight >= policy->most) {
        answer->kind = WT_HOLD;
        answer->retry_after_us = 1000;
        return 0;
    }
    answer->kind = WT_TO;
    answer->index = best;
    policy->sent++;
    return 0;
}

static void reason(const void *state, wt_text *text) {
    const least_requests *policy = state;
    snprintf(text->data, text->capacity, "fewest in flight, %llu sent",
             (unsigned long long)policy->sent);
}

static const wt_router_fns functions = {
    .size = sizeof(wt_router_fns),
    .interests = interests,
    .route = route,
    .reason = reason,
};

static const wt_param params[] = {
    {
        .name = "most",
        .doc = "Most requests in flight on an instance; 0 = any number.",
        .default_value = 0,
        .least = 0,
        .most = 100000,
        .flags = WT_WHOLE,
    },
};

static const wt_policy policies[] = {
    {
        .hook = WT_ROUTING,
        .name = "least-requests",
        .doc = "Sends each request where the fewest are in flight; ties go to the lowest index.",
        .params = params,
        .param_count = 1,
        .functions = &functions,
        .create = create,
        .destroy = free,
    },
};

const wt_plugin windtunnel_plugin = {
    .magic = WT_MAGIC,
    .size = sizeof(wt_plugin),
    .api_major = WT_API_MAJOR,
    .api_minor = WT_API_MINOR,
    .name = "least-requests",
    .version = "0.1.0",
    .policies = policies,
    .policy_count = 1,
    .policy_size = sizeof(wt_policy),
    .param_size = sizeof(wt_param),
};
