/*
 * rp-ours: rp_handoff as a peer, one side of the wire per subcommand, against the public header alone.
 *
 * The sides and their fields mirror those of rp-peer (../running-process), so that one can be put in the other's place.
 */
#ifndef RP_OURS_H
#define RP_OURS_H

#include <rp_handoff.h>
#include <stdio.h>

struct options {
    const char *path; /* listen, socket or broker */
    const char *target;
    const char *mode;
    const char *service;
    const char *version;
    const char *own_version;
    const char *cached;
    const char *backend_endpoint;
    const char *handoff_endpoint;
    const char *allowed_version;
    uint64_t correlation;
    int timeout_ms;
    int ready_timeout_ms;
    int delay_ms;
    int count;
    int hang_up;
    int threads;
    int adopt;
    int disabled;
    int adopted_backend;
    int starve;
    int session;
};

int run_send(const struct options *options);
int run_backend(const struct options *options);
int run_session_backend(const struct options *options);
int run_responder(const struct options *options); /* 1 if the mode is none of its modes */
int run_client(const struct options *options);
int run_watch(const struct options *options);
int run_front_door(const struct options *options);

/* ---- one line of JSON ---- */

struct report {
    FILE *file;
    char *text;
    size_t length;
};
void report_begin(struct report *report, const char *side);
void report_text(struct report *report, const char *key, const char *value); /* NULL: null */
void report_number(struct report *report, const char *key, uint64_t value);
void report_flag(struct report *report, const char *key, int value);
void report_token(struct report *report, const char *key, const uint8_t *bytes, size_t length);
void report_outcome(struct report *report, const rp_handoff_outcome *outcome);
void describe_offer(struct report *report, rp_handoff_offer *offer);
void report_print(struct report *report);

/* ---- connections ---- */

uint64_t micros_now(void);
int await_input(int fd, int timeout_ms); /* 1 if there is some, or the end */
int listen_at(const char *path);
int connect_to(const char *target); /* HOST:PORT or unix:PATH, HOST in numbers */
void end_connection(int fd);        /* shutdown(2) and close(2): for who owns it */
void pause_ms(int ms);
uint64_t open_descriptors(void);

/* Reads one byte, answers it and the own process id, and ends the connection. */
void serve(struct report *report, int fd, int timeout_ms);
/* Says `x`, and reports the line that comes back and the process id in it. */
void ask(struct report *report, int fd, int timeout_ms);

#endif
