/* A session without a loop: a worker thread blocks in rp_handoff_session_wait while the main thread submits. */
#include "scenario.h"

#include <pthread.h>

struct work {
    struct side *side;
    pthread_mutex_t mutex; /* of the side, not of the session */
    pthread_cond_t news;
    uint64_t turns;
    int goes_on;
};

static void *wait_for_events(void *argument) {
    struct work *work = argument;
    int goes_on = 1;
    while (goes_on) {
        check(rp_handoff_session_wait(session_of(work->side), RP_HANDOFF_FOREVER) == 1, "wait");
        pthread_mutex_lock(&work->mutex);
        goes_on = work->goes_on = take_events(work->side);
        work->turns++;
        pthread_cond_signal(&work->news);
        pthread_mutex_unlock(&work->mutex);
    }
    return NULL;
}

void drive(struct side *side) {
    struct work work = {side, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 1};
    pthread_t worker;
    uint64_t seen = 0;
    check(pthread_create(&worker, NULL, wait_for_events, &work) == 0, "a thread");
    pthread_mutex_lock(&work.mutex);
    while (work.goes_on) {
        begin_next(side);
        while (work.turns == seen)
            pthread_cond_wait(&work.news, &work.mutex);
        seen = work.turns;
    }
    pthread_mutex_unlock(&work.mutex);
    check(pthread_join(worker, NULL) == 0, "join");
}
