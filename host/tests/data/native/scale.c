/* A scaling policy in C: an instance for two requests, and one more for three instances. */
#include "windtunnel_plugin.h"

#include <stdio.h>

static uint64_t nothing(const void *state) {
    (void)state;
    return 0;
}

static int32_t replicas(void *state, const wt_scale_view *pool, const wt_cluster_view *cluster, uint32_t *answer,
                        wt_text *why) {
    (void)state;
    if (pool->completed == FAILS_AT) {
        snprintf(why->data, why->capacity, "%llu are enough", (unsigned long long)pool->completed);
        return 1;
    }
    *answer = (uint32_t)((pool->in_flight + pool->held + 1) / 2 + cluster->instances.len / 3);
    return 0;
}

static const wt_scale_fns FNS = {sizeof(wt_scale_fns), nothing, replicas};

static const wt_policy POLICIES[] = {
    {WT_SCALE, 0, "pairs", "An instance for two requests.", NULL, &FNS, NULL, NULL},
};

const wt_plugin windtunnel_plugin = {WT_MAGIC, sizeof(wt_plugin), WT_API_MAJOR, WT_API_MINOR, "scale", "0.1.0",
                                     POLICIES, 1, sizeof(wt_policy), sizeof(wt_param), 0};
