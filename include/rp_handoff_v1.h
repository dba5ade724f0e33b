/*
 * rp_handoff_v1.h - the v1 exchange, and what belongs around it.
 *
 * rp_handoff.h includes this header and is to be read first: its rules on errors, structs, time, threads, fork, callbacks
 * and ownership hold here too.
 *
 * The V1 EXCHANGE is one connection to the backend for each handoff, over a wire that peers in other languages speak
 * already. It has no ledger, so that an outcome can be AMBIGUOUS: the descriptor left, and nobody can know whether the
 * backend adopted it. Where both ends use this library, a session is cheaper and knows better.
 *
 * LIFECYCLE
 *
 *   broker                                            backend
 *   ------                                            -------
 *   rp_handoff_broker_create                          rp_handoff_listener_create
 *     for each client connection:                     rp_handoff_backend_create, rp_handoff_backend_add_listener
 *       rp_handoff_broker_issue    -> token             repeat:
 *       rp_handoff_broker_execute  -> outcome             rp_handoff_backend_next_offer -> offer
 *       close(2) the connection, or serve it              rp_handoff_offer_accept -> descriptor, or ..._refuse
 *   rp_handoff_broker_destroy                             rp_handoff_offer_destroy
 *                                                     rp_handoff_backend_destroy, rp_handoff_listener_destroy
 *
 *   Around it: a POLICY that says whether to try; VALUE HANDOFFS where descriptors do not travel in messages; a FRONT DOOR
 *   that reads a client's Hello and hands the client over, and the CLIENT that it talks to; the WIRE for callers with
 *   sockets of their own; a QUEUE for connections that wait; and LATENCY, which tells whether all this is worth it.
 *
 * OWNERSHIP   execute and serve BORROW the client's connection: it is the caller's to close, as the outcome says.
 * THREADS     execute, next_offer, serve and connect wait, and may run in many threads side by side on one handle.
 * FORK        A forked child may only destroy; the parent's sockets, names and offers stay as they are.
 * TIME        execute ends at its token's deadline; serve and connect have limits of their own, next_offer the caller's.
 * MEMORY      A handle that is made from another (front door from broker, backend from listener) keeps what it needs of it:
 *             any order of destruction will do.
 * SIGNALS     rp_handoff_backend_stop is async-signal-safe, and nothing else here.
 */
#ifndef RP_HANDOFF_V1_H
#define RP_HANDOFF_V1_H

#include "rp_handoff.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------- policy ---- */

/*
 * Whether to attempt a handoff at all, and what became of the last ones. Failures are counted per backend in a window
 * that starts at the first; at its end, or with a success, the backend starts anew. Descriptor pressure begins with
 * an accept(2) or a send that ran out of descriptors and ends after recovery_accepts successful accepts in a row.
 */

/* Which instance of a service a backend is. */
enum { RP_HANDOFF_INSTANCE_SHARED = 0, RP_HANDOFF_INSTANCE_PRIVATE = 1, RP_HANDOFF_INSTANCE_EXPLICIT = 2 };

/* A backend: all of it takes part in equality, so that the same version built anew is another one. Texts are UTF-8, at most
 * 1023 bytes, and may be NULL for empty. */
typedef struct rp_handoff_backend_key {
    uint32_t struct_size;
    int32_t instance;            /* RP_HANDOFF_INSTANCE_ */
    const char *instance_name;   /* PRIVATE: of the service; EXPLICIT: its name; SHARED: not looked at */
    const char *service_name;    /* of the service */
    const char *service_version; /* of the service */
    const char *executable_hash; /* for instance the lower-case hexadecimal BLAKE3 of the executable */
} rp_handoff_backend_key;
#define RP_HANDOFF_BACKEND_KEY_INIT                                                                                    \
    { .struct_size = sizeof(rp_handoff_backend_key) }

/* What an attempt is about. */
typedef struct rp_handoff_subject {
    uint32_t struct_size;
    int32_t client_supports;               /* flag: the client said that it can keep a handed-over connection */
    int32_t service_enabled;               /* flag: the service's settings allow it */
    int32_t fd_pressure;                   /* flag: short of descriptors, beside what the broker's own guard knows */
    int32_t adopted_backend;               /* flag: inherited from an earlier broker */
    uint32_t reserved;                     /* 0 */
    const rp_handoff_backend_key *backend; /* what failures are counted for */
} rp_handoff_subject;
#define RP_HANDOFF_SUBJECT_INIT                                                                                        \
    { .struct_size = sizeof(rp_handoff_subject) }

/* What the policy says. */
typedef struct rp_handoff_decision {
    uint32_t struct_size;
    int32_t attempt;         /* 1: attempt; 0: let the client reconnect */
    int32_t reason;          /* RP_HANDOFF_REASON_, if not */
    uint32_t reserved;       /* 0 */
    uint64_t retry_after_ns; /* of a rate limit; otherwise 0 */
} rp_handoff_decision;
#define RP_HANDOFF_DECISION_INIT                                                                                       \
    { .struct_size = sizeof(rp_handoff_decision) }

/* The first objection of, in this order: client, service, descriptor pressure, adopted backend, rate limit.
 * Errors: ERR_INVALID_ARGUMENT (no backend, an instance that is none, a text that is too long or not UTF-8). */
RP_HANDOFF_API int32_t rp_handoff_broker_should_attempt(rp_handoff_broker *broker, const rp_handoff_subject *subject,
                                                        rp_handoff_decision *out_decision, rp_handoff_error *out_error);

/* For attempts that execute and the front door did not make: how one went. `reason`: RP_HANDOFF_REASON_NONE for success, or
 * RP_HANDOFF_REASON_PERMISSION_DENIED, ..._INTEGRITY_MISMATCH or ..._BACKEND_ACK_TIMEOUT. Gives the decision that follows
 * for this client (may be NULL). Errors: ERR_INVALID_ARGUMENT (another reason; a key as in should_attempt), ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_broker_record(rp_handoff_broker *broker, const rp_handoff_backend_key *backend,
                                                int32_t reason, rp_handoff_decision *out_decision,
                                                rp_handoff_error *out_error);

/* The number of failures in the present window. Errors: ERR_INVALID_ARGUMENT (a key as in should_attempt). */
RP_HANDOFF_API int32_t rp_handoff_broker_get_failure_count(rp_handoff_broker *broker,
                                                           const rp_handoff_backend_key *backend, uint32_t *out_count,
                                                           rp_handoff_error *out_error);

/* Tells how the broker's own accept(2) went: 0 if it succeeded, its errno otherwise. EMFILE, ENFILE and ETOOMANYREFS
 * begin descriptor pressure (EMFILE also by hand, without an accept). Answers 1 if there is pressure now, 0 if not. Sends, those
 * of sessions too, are noted without this. With a front door or a subject, report the result of every accept(2): only
 * successes end pressure, and until then every Hello is refused and nothing is attempted.
 * Errors: ERR_INVALID_ARGUMENT (negative). */
RP_HANDOFF_API int32_t rp_handoff_broker_note_accept(rp_handoff_broker *broker, int32_t os_error);

/* ------------------------------------------------------------------------------------------------ execute ---- */

/* What a transport of the caller's is asked to send: descriptor and token in one message to `socket_path`, in the form
 * that rp_handoff_wire_send sends. All members are valid during the call only; `fd` is borrowed. */
typedef struct rp_handoff_attempt {
    uint32_t struct_size;
    int32_t fd;              /* the client connection */
    const char *socket_path; /* NULL if the request had none */
    int32_t connection_fd;   /* -1 unless the request had one */
    uint32_t reserved;       /* 0 */
    const uint8_t *message;  /* token and framed offer, as one message with `fd` on its first byte */
    size_t message_length;
    uint64_t deadline_ns;          /* instant */
    const rp_handoff_token *token; /* which the message begins with */
    const char *service_name;      /* as given to issue */
    uint64_t correlation_id;       /* of the offer */
} rp_handoff_attempt;

/* How it went. */
enum {
    RP_HANDOFF_TRANSPORT_SENT = 1, /* all of it */
    RP_HANDOFF_TRANSPORT_UNSUPPORTED = 2,
    RP_HANDOFF_TRANSPORT_PERMISSION_DENIED = 3,
    RP_HANDOFF_TRANSPORT_UNAVAILABLE = 4,
    RP_HANDOFF_TRANSPORT_WOULD_BLOCK = 5,
    RP_HANDOFF_TRANSPORT_FAILED = 6,  /* os_error tells; ETOOMANYREFS, EMFILE and ENFILE are descriptor pressure */
    RP_HANDOFF_TRANSPORT_PARTIAL = 7, /* bytes_sent of the token's 16 left */
    RP_HANDOFF_TRANSPORT_OFFER_UNDELIVERED = 8 /* descriptor and token left, the offer did not */
};

/* What a transport of the caller's answers. */
typedef struct rp_handoff_transport_result {
    uint32_t struct_size;
    int32_t status;      /* RP_HANDOFF_TRANSPORT_; 0 before the call, which counts as a callback that failed */
    int32_t os_error;    /* errno, for the outcome */
    uint32_t bytes_sent; /* PARTIAL */
} rp_handoff_transport_result;

/* Called exactly once per execute. A transport that fails its contract may have sent: the outcome is AMBIGUOUS. */
typedef int32_t (*rp_handoff_transport_fn)(void *user_data, const rp_handoff_attempt *attempt,
                                           rp_handoff_transport_result *out_result);

/* What a waiter of the caller's is told. */
typedef struct rp_handoff_ack_wait {
    uint32_t struct_size;
    int32_t connection_fd; /* the connection on which the built-in transport sent and the backend answers (borrowed,
                              blocking mode unspecified), or -1 */
    const rp_handoff_token *token; /* that the answer must have */
    uint64_t correlation_id;       /* that the answer must have */
    uint64_t deadline_ns;          /* instant */
} rp_handoff_ack_wait;

/* What was seen. */
enum {
    RP_HANDOFF_ACK_WAIT_ACCEPTED = 1, /* observed_ns tells when */
    RP_HANDOFF_ACK_WAIT_REFUSED = 2,  /* by a well-formed answer with this token and correlation id: BROKER */
    RP_HANDOFF_ACK_WAIT_FAILED = 3    /* no such answer */
};

/* What a waiter of the caller's answers. */
typedef struct rp_handoff_ack_wait_result {
    uint32_t struct_size;
    int32_t status;       /* RP_HANDOFF_ACK_WAIT_; 0 before the call, which counts as a callback that failed */
    uint64_t observed_ns; /* instant at which the answer was there; at or after the deadline is late */
} rp_handoff_ack_wait_result;

/* Called at most once per execute, after everything was sent. */
typedef int32_t (*rp_handoff_await_ack_fn)(void *user_data, const rp_handoff_ack_wait *ack_wait,
                                           rp_handoff_ack_wait_result *out_result);

/* How to execute. */
enum {
    RP_HANDOFF_REQUEST_ANY_DESCRIPTOR = 1u << 0 /* fd may be 0; otherwise 0 is refused as a member that was forgotten */
};

/* A handoff to execute. */
typedef struct rp_handoff_request {
    uint32_t struct_size;
    int32_t fd;              /* borrowed: the client connection, any descriptor that sendmsg(2) can pass */
    rp_handoff_token token;  /* of rp_handoff_broker_issue */
    const char *socket_path; /* where the backend listens; NULL: use connection_fd */
    int32_t connection_fd; /* borrowed: a connected Unix stream socket to the backend; read if socket_path is NULL; 0 or
                                 -1: none */
    int32_t connection_trust;          /* RP_HANDOFF_TRUST_, needed with connection_fd */
    uint64_t correlation_id;           /* 0: the broker's next, which are unique per broker */
    rp_handoff_transport_fn transport; /* NULL: the built-in one; otherwise await_ack must be given too */
    void *transport_user_data;         /* for transport */
    rp_handoff_await_ack_fn await_ack; /* NULL: read the answer from the same connection */
    void *await_ack_user_data;         /* for await_ack */
    const rp_handoff_subject
        *subject;      /* NULL: the policy is left alone; otherwise it is asked first, and told the result */
    uint32_t flags;    /* RP_HANDOFF_REQUEST_ */
    uint32_t reserved; /* 0 */
} rp_handoff_request;
#define RP_HANDOFF_REQUEST_INIT                                                                                        \
    { .struct_size = sizeof(rp_handoff_request), .fd = -1, .connection_fd = -1 }

/* BORROWS request->fd and hands the connection over: dials, checks who is there, sends, waits for the answer, at most until
 * the token's deadline. Success (0) means that there is an outcome; *out_outcome says which. The token has ended then.
 * After a fallback over a connection_fd whose may_have_reached_backend is 1, unless its cause is BACKEND_REFUSED, close
 * that connection: its stream was cut, or a late answer may still come on it.
 * Errors, before anything is sent: ERR_INVALID_ARGUMENT (descriptor -1, or 0 without RP_HANDOFF_REQUEST_ANY_DESCRIPTOR,
 * neither path nor connection, a connection that is no connected Unix stream socket or has no trust, a transport without
 * await_ack, an unknown flag, a subject as in should_attempt), ERR_PATH_INVALID, ERR_TOKEN_NOT_PENDING, ERR_TOKEN_EXPIRED,
 * ERR_TOKEN_IN_USE, ERR_UNSUPPORTED, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_broker_execute(rp_handoff_broker *broker, const rp_handoff_request *request,
                                                 rp_handoff_outcome *out_outcome, rp_handoff_error *out_error);

/* For callers with sockets of their own (see "wire"): the backend acknowledged, observed at `observed_ns`. Ends the
 * token, also if it was late. Gives the nanoseconds since issue (out may be NULL). Errors: ERR_INVALID_ARGUMENT (NULL),
 * ERR_TOKEN_NOT_PENDING, ERR_ACK_OVERDUE; ERR_TOKEN_IN_USE, which ends nothing. */
RP_HANDOFF_API int32_t rp_handoff_broker_acknowledge(rp_handoff_broker *broker, const rp_handoff_token *token,
                                                     uint64_t observed_ns, uint64_t *out_waited_ns);

/* ------------------------------------------------------------------------------------------ value handoffs ---- */

/*
 * Where descriptors do not travel in messages (Windows), the broker duplicates a handle into the backend's own table
 * and then tells it the number. The same machine, deadlines and registry; who duplicates, delivers and waits is the
 * caller's to give. Nothing here does it by itself: without `duplicate` the outcome is "unsupported platform".
 */

/* What the caller's functions are asked to do. All members are valid during the call only. */
typedef struct rp_handoff_value_attempt {
    uint32_t struct_size;
    uint32_t backend_pid;          /* as given to issue */
    uint64_t handle;               /* duplicate: the broker's; deliver: the backend's */
    const rp_handoff_token *token; /* of this handoff */
    const char *service_name;      /* as given to issue */
    uint64_t correlation_id;       /* of the offer */
    uint64_t deadline_ns;          /* instant */
} rp_handoff_value_attempt;

/* How the duplication went. */
enum {
    RP_HANDOFF_DUPLICATE_DONE = 1,
    RP_HANDOFF_DUPLICATE_UNSUPPORTED = 2,
    RP_HANDOFF_DUPLICATE_CANNOT_OPEN_BACKEND = 3,
    RP_HANDOFF_DUPLICATE_PERMISSION_DENIED = 4,
    RP_HANDOFF_DUPLICATE_FAILED = 5,
    RP_HANDOFF_DUPLICATE_INTEGRITY_MISMATCH = 6
};

/* Duplicates. *out_status is 0 before the call, which counts as a callback that failed. */
typedef int32_t (*rp_handoff_duplicate_fn)(void *user_data, const rp_handoff_value_attempt *attempt,
                                           uint64_t *out_backend_handle, int32_t *out_status, int32_t *out_os_error);

/* Tells the backend. Succeeds only if it was told. */
typedef int32_t (*rp_handoff_deliver_fn)(void *user_data, const rp_handoff_value_attempt *attempt);

/* A value handoff to execute. */
typedef struct rp_handoff_value_request {
    uint32_t struct_size;
    uint32_t reserved;                 /* 0 */
    uint64_t handle;                   /* the broker's */
    rp_handoff_token token;            /* of rp_handoff_broker_issue */
    uint64_t correlation_id;           /* 0: the broker's next */
    rp_handoff_duplicate_fn duplicate; /* NULL: the outcome is "unsupported platform" */
    void *duplicate_user_data;         /* for duplicate */
    rp_handoff_deliver_fn deliver;     /* needed with duplicate */
    void *deliver_user_data;           /* for deliver */
    rp_handoff_await_ack_fn await_ack; /* needed with duplicate */
    void *await_ack_user_data;         /* for await_ack */
    const rp_handoff_subject *subject; /* as in rp_handoff_request */
} rp_handoff_value_request;
#define RP_HANDOFF_VALUE_REQUEST_INIT                                                                                  \
    { .struct_size = sizeof(rp_handoff_value_request) }

/* As rp_handoff_broker_execute. *out_leaked_handle (may be NULL) is, after a fallback, the handle that was left in the
 * backend's table and cannot be closed from here, or 0. Errors: ERR_INVALID_ARGUMENT (duplicate without deliver and
 * await_ack, a subject as in should_attempt), ERR_TOKEN_NOT_PENDING, ERR_TOKEN_EXPIRED, ERR_TOKEN_IN_USE, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_broker_execute_value(rp_handoff_broker *broker,
                                                       const rp_handoff_value_request *request,
                                                       rp_handoff_outcome *out_outcome, uint64_t *out_leaked_handle,
                                                       rp_handoff_error *out_error);

/* ------------------------------------------------------------------------------------------------ backend ---- */

/* The backend's side of the v1 exchange: takes offers of several brokers at once. */
typedef struct rp_handoff_backend rp_handoff_backend;

/* Which tokens a backend takes. */
enum {
    /* That of the offer itself, provided that the 16 bytes which carried the descriptor say the same and that it was
     * not used here before (within its time to live; the last max_pending are remembered). The trust is in the broker,
     * whom the kernel identified. */
    RP_HANDOFF_TOKENS_FROM_BROKER = 0,
    /* Only those announced by rp_handoff_backend_expect: for a broker that makes its tokens known by another way. */
    RP_HANDOFF_TOKENS_EXPECTED = 1
};

/* Settings of a backend. */
typedef struct rp_handoff_backend_options {
    uint32_t struct_size;
    uint32_t peer_flags;       /* RP_HANDOFF_PEER_ANY_UID */
    const uint32_t *peer_uids; /* see "peers"; NULL and 0: this process's effective user id */
    size_t peer_uids_length;   /* at most 64 */
    int32_t token_policy;      /* RP_HANDOFF_TOKENS_ */
    uint32_t max_connections;  /* from brokers, and unanswered offers, at once; default 64, at most 65536 */
    uint32_t max_pending;      /* expected or remembered tokens; default 1024, at most 16777216 */
    uint32_t max_frame_bytes;  /* longest offer; default 65536, at most 16777216 */
    uint64_t token_ttl_ns;     /* default 30 s */
    uint64_t io_timeout_ns;  /* for a whole offer, from accept(2), from the last answer, or (after add_connection, where
                                  idle costs nothing) from its first byte; and for writing an answer; default 5 s */
    rp_handoff_now_fn now;   /* now and wait: both or none (CLOCK_MONOTONIC and ppoll(2)) */
    rp_handoff_wait_fn wait; /* see now */
    void *time_user_data;    /* for both */
} rp_handoff_backend_options;
#define RP_HANDOFF_BACKEND_OPTIONS_INIT                                                                                \
    { .struct_size = sizeof(rp_handoff_backend_options) }

/* Makes a backend. `options` may be NULL: all defaults. Errors: ERR_INVALID_ARGUMENT (an unknown peer flag, a token_policy
 * that is none, a number above its limit, more than 64 uids or uids without a list, only one of now and wait),
 * ERR_UNSUPPORTED, ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_backend_create(const rp_handoff_backend_options *options,
                                                 rp_handoff_backend **out_backend, rp_handoff_error *out_error);

/* Closes its connections, with the descriptors of offers that nobody took, and lets its listeners go. Offers already given
 * out stay valid and can still be answered. In a forked child it closes the child's copies and removes nothing. Accepts
 * NULL. Never fails. */
RP_HANDOFF_API void rp_handoff_backend_destroy(rp_handoff_backend *backend);

/* Takes offers from all who connect to `listener`, whose `trust` says how they are judged. A listener may serve several
 * backends, and may be destroyed at once: its socket and name last as long as it or a backend. Do not also accept from it.
 * Errors: ERR_WRONG_HANDLE (either), ERR_CLOSED (a stopped listener), ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_backend_add_listener(rp_handoff_backend *backend, rp_handoff_listener *listener);

/* TAKES ON SUCCESS a connected Unix stream socket to a broker, which may send many offers over it, one after the other.
 * `trust`: RP_HANDOFF_TRUST_. Errors: ERR_INVALID_ARGUMENT (no connected Unix stream socket, a trust that is none),
 * ERR_PEER_REJECTED, ERR_LIMIT (max_connections), ERR_UNSUPPORTED, ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_backend_add_connection(rp_handoff_backend *backend, int32_t fd, int32_t trust);

/* Announces a token for RP_HANDOFF_TOKENS_EXPECTED; its time to live starts now. Announcing it again starts it anew.
 * Errors: ERR_INVALID_ARGUMENT (NULL), ERR_LIMIT (max_pending), ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_backend_expect(rp_handoff_backend *backend, const rp_handoff_token *token);

/* Takes an announcement back: 1 if it was pending, 0 if not. Errors: ERR_INVALID_ARGUMENT (NULL). */
RP_HANDOFF_API int32_t rp_handoff_backend_revoke(rp_handoff_backend *backend, const rp_handoff_token *token);

/* For callers with sockets of their own: consumes an announced token if the presented bytes are it.
 * Errors: ERR_INVALID_ARGUMENT (NULL), then ERR_TOKEN_MISSING, ERR_TOKEN_LENGTH, ERR_TOKEN_NOT_PENDING, ERR_TOKEN_EXPIRED,
 * ERR_TOKEN_MISMATCH, in this order; a mismatch consumes nothing. */
RP_HANDOFF_API int32_t rp_handoff_backend_consume(rp_handoff_backend *backend, const rp_handoff_token *expected,
                                                  const uint8_t *presented, size_t presented_length);

/* Waits at most `timeout_ns` (0: do not wait; RP_HANDOFF_FOREVER) for the next valid offer and GIVES it. Offers that
 * are malformed or carry an unacceptable token are answered with a refusal, their descriptors closed, and counted; they
 * are not seen here. Several threads may wait: each offer goes to one of them. While as many offers as max_connections
 * are unanswered, no further ones are read. Errors: ERR_INVALID_ARGUMENT (NULL), ERR_TIMED_OUT, ERR_CLOSED (after stop),
 * ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_backend_next_offer(rp_handoff_backend *backend, uint64_t timeout_ns,
                                                     rp_handoff_offer **out_offer);

/* For event loops: a descriptor (borrowed, close-on-exec) that is readable when next_offer with timeout 0 has something
 * to do. Call it then until it answers ERR_TIMED_OUT, and also when the time of ..._get_timeout has passed. Errors: the
 * common ones. */
RP_HANDOFF_API int32_t rp_handoff_backend_get_fd(rp_handoff_backend *backend);

/* Nanoseconds until next_offer has to be called even if the descriptor is not readable, or RP_HANDOFF_FOREVER.
 * Errors: ERR_INVALID_ARGUMENT (NULL). */
RP_HANDOFF_API int32_t rp_handoff_backend_get_timeout(rp_handoff_backend *backend, uint64_t *out_timeout_ns);

/* Makes every next_offer, waiting or to come, answer ERR_CLOSED. Async-signal-safe. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_backend_stop(rp_handoff_backend *backend);

/* Counters since create, except those of the moment. */
typedef struct rp_handoff_backend_statistics {
    uint32_t struct_size;
    uint32_t connections;         /* of the moment, without those whose offer waits for an answer */
    uint32_t unanswered;          /* offers of the moment */
    uint32_t reserved;            /* 0 */
    uint64_t accepted;            /* offers, by the caller */
    uint64_t refused;             /* by the caller, or by destroying an unanswered offer */
    uint64_t rejected_peers;      /* connections closed because of who made them */
    uint64_t rejected_tokens;     /* offers refused because of their token */
    uint64_t rejected_offers;     /* connections dropped: malformed, truncated, late, or not exactly one descriptor */
    uint64_t answers_undelivered; /* acknowledgements and refusals that could not be sent */
} rp_handoff_backend_statistics;
#define RP_HANDOFF_BACKEND_STATISTICS_INIT                                                                             \
    { .struct_size = sizeof(rp_handoff_backend_statistics) }

/* Fills in the counters. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_backend_get_statistics(rp_handoff_backend *backend,
                                                         rp_handoff_backend_statistics *out_statistics);

/* -------------------------------------------------------------------------------------------- front door ---- */

/*
 * The v1 protocol's first contact: a client of a local stream socket says Hello, the broker answers where its service
 * is, and where client, service and policy allow hands the connection over; the client is told "ready" once the
 * backend has acknowledged, and never otherwise. A client to which nothing is handed reconnects by itself.
 */
typedef struct rp_handoff_front_door rp_handoff_front_door;

/* Settings of a front door. */
typedef struct rp_handoff_front_door_options {
    uint32_t struct_size;
    uint32_t max_hello_bytes;  /* default 65536, at most 65536 */
    uint64_t hello_timeout_ns; /* for reading the Hello and writing the reply together, and again for writing the ready
                                   frame; default 30 s, or RUNNING_PROCESS_BROKER_HELLO_TIMEOUT_MS of the environment */
    uint32_t
        max_hellos;    /* of one client process, in a window; default 1000. Processes whose pid is not visible from here
                            are told apart on Linux 6.9 or later, and count together before, by user */
    uint32_t reserved; /* 0 */
    uint64_t hello_window_ns;   /* default 1 s */
    uint64_t pressure_retry_ns; /* told to clients that are refused for descriptor pressure; default 1 s */
} rp_handoff_front_door_options;
#define RP_HANDOFF_FRONT_DOOR_OPTIONS_INIT                                                                             \
    { .struct_size = sizeof(rp_handoff_front_door_options) }

/* Makes a front door, without services yet, of `broker`; either may be destroyed first. `options` may be NULL.
 * Errors: ERR_INVALID_ARGUMENT (max_hello_bytes above its limit), ERR_UNSUPPORTED, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_front_door_create(rp_handoff_broker *broker,
                                                    const rp_handoff_front_door_options *options,
                                                    rp_handoff_front_door **out_front_door,
                                                    rp_handoff_error *out_error);

/* Forgets its services. Closes nothing. Accepts NULL. Never fails. */
RP_HANDOFF_API void rp_handoff_front_door_destroy(rp_handoff_front_door *front_door);

/* A service that clients may ask for. */
typedef struct rp_handoff_front_door_service {
    uint32_t struct_size;
    uint32_t client_peer_flags;          /* RP_HANDOFF_PEER_ANY_UID */
    const char *name;                    /* UTF-8, at most 255 bytes */
    const char *version;                 /* of the daemon, told to clients; at most 255 bytes; may be NULL */
    const char *backend_endpoint;        /* where clients reconnect to, always told; at most 1023 bytes */
    const char *handoff_endpoint;        /* where the backend takes offers: a socket path; NULL: no handoffs */
    const char *const *allowed_versions; /* that clients may want; NULL and 0: any */
    size_t allowed_versions_length;      /* at most 64 */
    const uint32_t *client_uids;         /* who may ask; NULL and 0: this process's effective user id */
    size_t client_uids_length;           /* at most 64 */
    int32_t handoff_disabled;            /* flag: clients reconnect */
    int32_t adopted_backend;             /* flag: inherited from an earlier broker; clients reconnect */
    uint64_t capabilities;               /* told to clients; bit 0 is the library's */
    uint64_t keepalive_ns;               /* told to clients, in whole seconds, rounded up */
    const rp_handoff_backend_key
        *backend; /* what failures are counted for; NULL: shared instance of name and version */
    /* NULL for none: a session of the same broker, instead of handoff_endpoint; the service keeps what it needs of it. The
     * reply to the Hello is held back until the outcome, at most 500 ms: an adopted client gets Negotiated and ready from
     * its backend, in one write; any other gets Negotiated without a token from the broker, and reconnects at once. A
     * backend that dies between adopting and writing leaves a Hello without a reply: rp_handoff_client_connect tries once
     * more, other clients may see an error. When the session has ended every visit is RECONNECT, with status ERR_CLOSED,
     * until put_service names another one. */
    rp_handoff_session *session;
} rp_handoff_front_door_service;
#define RP_HANDOFF_FRONT_DOOR_SERVICE_INIT                                                                             \
    { .struct_size = sizeof(rp_handoff_front_door_service) }

/* Adds a service, or replaces the one of that name for the visits to come.
 * Errors: ERR_INVALID_ARGUMENT (no name or backend_endpoint, a text that is too long or not UTF-8, too many versions or
 * uids, an unknown flag, a session of another broker or beside a handoff_endpoint, a key as in should_attempt),
 * ERR_PATH_INVALID (handoff_endpoint), ERR_WRONG_HANDLE (session), ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_front_door_put_service(rp_handoff_front_door *front_door,
                                                         const rp_handoff_front_door_service *service,
                                                         rp_handoff_error *out_error);

/* Removes a service for the visits to come: 1 if there was one of that name, 0 if not. Errors: ERR_INVALID_ARGUMENT (NULL),
 * ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_front_door_remove_service(rp_handoff_front_door *front_door, const char *name);

/* How a visit ended. */
enum {
    RP_HANDOFF_FRONT_DOOR_DROPPED = 1,   /* no valid Hello came, or the reply could not be delivered */
    RP_HANDOFF_FRONT_DOOR_REFUSED = 2,   /* with `code` */
    RP_HANDOFF_FRONT_DOOR_RECONNECT = 3, /* the client knows where to go; if there was an attempt, the outcome tells */
    RP_HANDOFF_FRONT_DOOR_HANDED_OFF = 4 /* completed: the backend owns the connection */
};

/* What a client is refused for; the numbers of the wire. */
enum {
    RP_HANDOFF_REFUSED_UNSPECIFIED = 0, /* a frame that is no Hello */
    RP_HANDOFF_REFUSED_VERSION_UNSUPPORTED = 1,
    RP_HANDOFF_REFUSED_SERVICE_UNKNOWN = 2,
    RP_HANDOFF_REFUSED_SPAWN_FAILED = 3,
    RP_HANDOFF_REFUSED_RATE_LIMITED = 4,
    RP_HANDOFF_REFUSED_SHUTTING_DOWN = 5,
    RP_HANDOFF_REFUSED_PEER_REJECTED = 6,
    RP_HANDOFF_REFUSED_INTERNAL = 7,
    RP_HANDOFF_REFUSED_VERSION_BLOCKED = 8,
    RP_HANDOFF_REFUSED_FD_PRESSURE = 9
};

/* What became of a visit. */
typedef struct rp_handoff_front_door_visit {
    uint32_t struct_size;
    int32_t result;          /* RP_HANDOFF_FRONT_DOOR_ */
    int32_t status;          /* DROPPED: RP_HANDOFF_ERR_ */
    int32_t code;            /* REFUSED: RP_HANDOFF_REFUSED_ */
    uint64_t connection_id;  /* unique per broker; also the correlation id of the offer */
    int32_t attempted;       /* 1: there is an outcome */
    int32_t ready_delivered; /* HANDED_OFF: 1 if the client could be told */
    char detail[256];        /* for logs, as in rp_handoff_outcome */
} rp_handoff_front_door_visit;
#define RP_HANDOFF_FRONT_DOOR_VISIT_INIT                                                                               \
    { .struct_size = sizeof(rp_handoff_front_door_visit) }

/* BORROWS a client's connection and serves this visit. Waits for the client's Hello and for the outcome. Afterwards,
 * whatever the result, close(2) it, with shutdown(2) before only if the outcome says RP_HANDOFF_OWNER_BROKER or there is
 * none: the client that reconnects is waiting for that. `out_outcome` may be NULL; it is written only if there was an
 * attempt. Errors: ERR_INVALID_ARGUMENT (a negative descriptor), ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_front_door_serve(rp_handoff_front_door *front_door, int32_t client_fd,
                                                   rp_handoff_front_door_visit *out_visit,
                                                   rp_handoff_outcome *out_outcome);

/* ------------------------------------------------------------------------------------------------- client ---- */

/* What a client wants. */
typedef struct rp_handoff_client_request {
    uint32_t struct_size;
    int32_t adopt;              /* flag: keep the connection if it is handed over; the broker is told so */
    const char *broker_path;    /* the broker's socket */
    const char *service_name;   /* UTF-8, at most 255 bytes */
    const char *wanted_version; /* at most 255 bytes; may be NULL */
    const char *own_version;    /* at most 255 bytes; may be NULL */
    const char
        *cached_endpoint; /* where the service was last time: tried first if both versions are equal; may be NULL */
    uint64_t ready_timeout_ns; /* for the ready frame; default 2 s */
    uint64_t timeout_ns;       /* for everything together; default 30 s, or RUNNING_PROCESS_BROKER_CLIENT_TIMEOUT_MS of
                                    the environment */
    uint64_t keepalive_ns;     /* told to the broker, in whole seconds, rounded up */
    const uint32_t *peer_uids; /* of broker and backend; NULL and 0: this process's effective user id */
    size_t peer_uids_length;   /* at most 64 */
    uint32_t peer_flags;       /* of broker and backend: RP_HANDOFF_PEER_ANY_UID */
    uint32_t reserved;         /* 0 */
    rp_handoff_now_fn now;     /* now and wait: both or none (CLOCK_MONOTONIC and ppoll(2)) */
    rp_handoff_wait_fn wait;   /* see now */
    void *time_user_data;      /* for both */
} rp_handoff_client_request;
#define RP_HANDOFF_CLIENT_REQUEST_INIT                                                                                 \
    { .struct_size = sizeof(rp_handoff_client_request) }

/* How the client got where it is. */
enum {
    RP_HANDOFF_ROUTE_HELLO_SKIP = 1,        /* the cached endpoint was there */
    RP_HANDOFF_ROUTE_BROKER_NEGOTIATED = 2, /* reconnected to the endpoint that the broker named */
    RP_HANDOFF_ROUTE_HANDLE_PASSED = 3,     /* the connection to the broker, which the backend has adopted */
    RP_HANDOFF_ROUTE_REFUSED = 4            /* no connection: refusal_code and reason tell why */
};

/* What a client gets. Texts are NUL-terminated. */
typedef struct rp_handoff_client_connection {
    uint32_t struct_size;
    int32_t fd;               /* given: yours to close; -1 if refused */
    int32_t route;            /* RP_HANDOFF_ROUTE_ */
    int32_t refusal_code;     /* RP_HANDOFF_REFUSED_ */
    uint64_t retry_after_ns;  /* of a refusal; 0: not told */
    uint64_t connection_id;   /* as the broker numbered it */
    uint64_t capabilities;    /* of the service */
    uint64_t keepalive_ns;    /* of the service */
    int32_t has_token;        /* 1: the broker gave one, whatever the route */
    rp_handoff_token token;   /* if it did */
    uint32_t reserved;        /* 0 */
    char endpoint[1024];      /* of the backend, to be cached; whatever the route, but empty if refused */
    char daemon_version[256]; /* cut to fit */
    char reason[256];         /* of a refusal; cut to fit */
} rp_handoff_client_connection;
#define RP_HANDOFF_CLIENT_CONNECTION_INIT                                                                              \
    { .struct_size = sizeof(rp_handoff_client_connection), .fd = -1 }

/* GIVES a connection to a service by whichever route works. Waits at most until the deadline; no other socket is left. The
 * broker's end without a reply is tried once more. From here on it is a plain stream on which the client speaks first: a
 * backend that was handed the connection waits for the first byte.
 * Errors: ERR_INVALID_ARGUMENT (no broker_path or service_name, a text that is too long or not UTF-8, an unknown peer flag,
 * too many uids, only one of now and wait), ERR_TIMED_OUT, ERR_UNAVAILABLE, ERR_PEER_REJECTED, ERR_PATH_INVALID (the
 * broker's path, or the endpoint that it named), ERR_CLOSED and the ERR_FRAME_ ones (of the broker's answer),
 * ERR_UNEXPECTED_EOF, ERR_UNSUPPORTED, ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_client_connect(const rp_handoff_client_request *request,
                                                 rp_handoff_client_connection *out_connection,
                                                 rp_handoff_error *out_error);

/* --------------------------------------------------------------------------------------------------- wire ---- */

/*
 * The frozen v1 envelope, for callers who move the bytes themselves: on the wire a frame is one byte 1, the length of
 * the body as four bytes little-endian, and the body, a protobuf message Frame. Bytes and text are pointer and length;
 * in decoded structs they point into the buffer that was decoded. Integers that a peer may send beyond the names below
 * are given as they are. These structs mirror the wire, its units included.
 */
enum { RP_HANDOFF_FRAME_HEADER_SIZE = 5, RP_HANDOFF_FRAME_BODY_MAX = 16777216, RP_HANDOFF_PROTOCOL_HANDOFF = 0xD0FF };
/* What a frame is. */
enum {
    RP_HANDOFF_KIND_REQUEST = 0,
    RP_HANDOFF_KIND_RESPONSE = 1,
    RP_HANDOFF_KIND_EVENT = 2,
    RP_HANDOFF_KIND_CANCEL = 3
};
/* How its payload is compressed. */
enum {
    RP_HANDOFF_ENCODING_NONE = 0,
    RP_HANDOFF_ENCODING_ZSTD = 1,
    RP_HANDOFF_ENCODING_SNAPPY = 2,
    RP_HANDOFF_ENCODING_LZ4 = 3
};

/* The envelope. */
typedef struct rp_handoff_wire_frame {
    uint32_t struct_size;
    uint32_t envelope_version; /* 1 */
    int32_t kind;              /* RP_HANDOFF_KIND_ */
    uint32_t payload_protocol; /* RP_HANDOFF_PROTOCOL_ */
    const uint8_t *payload;    /* an encoded message */
    size_t payload_length;
    uint64_t request_id;       /* which answers repeat */
    int32_t payload_encoding;  /* RP_HANDOFF_ENCODING_ */
    uint32_t reserved;         /* 0 */
    uint64_t deadline_unix_ms; /* 0: none */
    const char *traceparent;   /* of W3C trace context */
    size_t traceparent_length;
    const char *tracestate; /* of W3C trace context */
    size_t tracestate_length;
} rp_handoff_wire_frame;
#define RP_HANDOFF_WIRE_FRAME_INIT                                                                                     \
    { .struct_size = sizeof(rp_handoff_wire_frame) }

/* What the broker says beside the descriptor. */
typedef struct rp_handoff_wire_offer {
    uint32_t struct_size;
    uint32_t reserved;     /* 0 */
    uint64_t handle_value; /* 0 where descriptors travel beside the bytes */
    const uint8_t *token;  /* 16 bytes */
    size_t token_length;
    const char *service_name; /* UTF-8 */
    size_t service_name_length;
    uint64_t correlation_id; /* which the answer repeats */
} rp_handoff_wire_offer;
#define RP_HANDOFF_WIRE_OFFER_INIT                                                                                     \
    { .struct_size = sizeof(rp_handoff_wire_offer) }

/* What the backend answers. */
typedef struct rp_handoff_wire_ack {
    uint32_t struct_size;
    int32_t accepted;     /* flag */
    const uint8_t *token; /* of the offer */
    size_t token_length;
    const char *error_detail; /* of a refusal; UTF-8 */
    size_t error_detail_length;
    uint64_t correlation_id; /* of the offer */
} rp_handoff_wire_ack;
#define RP_HANDOFF_WIRE_ACK_INIT                                                                                       \
    { .struct_size = sizeof(rp_handoff_wire_ack) }

/* Each encode call writes header and body to `out` and the number of bytes to *out_length. With `out` NULL (and capacity 0)
 * only the length is given. Errors: ERR_INVALID_ARGUMENT (text is not UTF-8, a length without bytes, a capacity without
 * `out`), ERR_BUFFER_TOO_SMALL, ERR_FRAME_TOO_LARGE, ERR_NO_MEMORY. This one: any frame. */
RP_HANDOFF_API int32_t rp_handoff_wire_encode_frame(const rp_handoff_wire_frame *frame, uint8_t *out, size_t capacity,
                                                    size_t *out_length);

/* Encodes an offer. Errors: as of encode_frame, ERR_INVALID_ARGUMENT included. */
RP_HANDOFF_API int32_t rp_handoff_wire_encode_offer(const rp_handoff_wire_offer *offer, uint8_t *out, size_t capacity,
                                                    size_t *out_length);

/* Encodes an answer. `kind`: RP_HANDOFF_KIND_RESPONSE for the backend's answer, RP_HANDOFF_KIND_EVENT for the client's ready
 * frame. Errors: as of encode_frame; ERR_INVALID_ARGUMENT also for another kind. */
RP_HANDOFF_API int32_t rp_handoff_wire_encode_ack(const rp_handoff_wire_ack *ack, int32_t kind, uint8_t *out,
                                                  size_t capacity, size_t *out_length);

/* Each decode call decodes one frame from the start of `data`; *out_consumed tells its whole length, and what follows is not
 * looked at. Errors: ERR_INVALID_ARGUMENT (a length without data), ERR_FRAME_INCOMPLETE (more bytes are needed),
 * ERR_FRAME_VERSION, ERR_FRAME_TOO_LARGE (body over 16 MiB, said as soon as the header is there), ERR_FRAME_MALFORMED.
 * This one: any frame. */
RP_HANDOFF_API int32_t rp_handoff_wire_decode_frame(const uint8_t *data, size_t length,
                                                    rp_handoff_wire_frame *out_frame, size_t *out_consumed);

/* Decodes an offer and validates its envelope: version 1, the kind, the handoff protocol, no compression, the frame's
 * request id equal to the payload's correlation id. Errors: as of decode_frame, ERR_INVALID_ARGUMENT included;
 * ERR_FRAME_UNEXPECTED. */
RP_HANDOFF_API int32_t rp_handoff_wire_decode_offer(const uint8_t *data, size_t length,
                                                    rp_handoff_wire_offer *out_offer, size_t *out_consumed);

/* Decodes an answer and validates its envelope, as decode_offer does. `kind`: as in encode_ack. Errors: as of decode_offer;
 * ERR_INVALID_ARGUMENT also for another kind. */
RP_HANDOFF_API int32_t rp_handoff_wire_decode_ack(const uint8_t *data, size_t length, int32_t kind,
                                                  rp_handoff_wire_ack *out_ack, size_t *out_consumed);

/* The first contact, for front doors of your own. */
enum { RP_HANDOFF_PROTOCOL_CONTROL = 0, RP_HANDOFF_CAPABILITY_HANDLE_PASSING = 1 };

/* Text by pointer and length, for lists. */
typedef struct rp_handoff_wire_text {
    const char *data; /* UTF-8 */
    size_t length;    /* in bytes */
} rp_handoff_wire_text;

/* What a client says first. */
typedef struct rp_handoff_wire_hello {
    uint32_t struct_size;
    uint32_t client_min_protocol; /* versions that it speaks */
    uint32_t client_max_protocol; /* versions that it speaks */
    uint32_t peer_pid;            /* as claimed */
    const char *service_name;     /* that it wants */
    size_t service_name_length;
    const char *wanted_version; /* of the service */
    size_t wanted_version_length;
    const char *client_version; /* of itself */
    size_t client_version_length;
    uint64_t client_capabilities; /* RP_HANDOFF_CAPABILITY_ */
    const uint8_t *auth_token;    /* bytes */
    size_t auth_token_length;
    const char *request_id; /* text of the client's */
    size_t request_id_length;
    uint64_t connection_id;      /* 0: none yet */
    const char *client_lib_name; /* of its library */
    size_t client_lib_name_length;
    const char *client_lib_version; /* of its library */
    size_t client_lib_version_length;
    const uint8_t *peer_attestation_nonce; /* bytes */
    size_t peer_attestation_nonce_length;
    const uint8_t *capability_token; /* bytes */
    size_t capability_token_length;
    uint64_t client_keepalive_secs; /* 0: none */
} rp_handoff_wire_hello;
#define RP_HANDOFF_WIRE_HELLO_INIT                                                                                     \
    { .struct_size = sizeof(rp_handoff_wire_hello) }

/* A key and its value. */
typedef struct rp_handoff_wire_detail {
    rp_handoff_wire_text key;   /* unique in its list */
    rp_handoff_wire_text value; /* of that key */
} rp_handoff_wire_detail;

/* The answer to a Hello is one of the two. */
enum { RP_HANDOFF_REPLY_NEGOTIATED = 1, RP_HANDOFF_REPLY_REFUSED = 2 };

/* What the broker answers. */
typedef struct rp_handoff_wire_reply {
    uint32_t struct_size;
    int32_t choice; /* RP_HANDOFF_REPLY_; of a decoded reply 0 if it has neither */
    /* Of NEGOTIATED, in the order of the wire's message: */
    const char *daemon_version;
    size_t daemon_version_length;
    const char *backend_pipe;
    size_t backend_pipe_length;
    uint64_t server_capabilities;
    uint64_t keepalive_interval_secs;
    const uint8_t *handle_passed_token;
    size_t handle_passed_token_length;
    uint64_t connection_id;
    uint32_t negotiated_protocol;
    /* Of REFUSED: */
    int32_t code; /* RP_HANDOFF_REFUSED_ */
    const char *reason;
    size_t reason_length;
    uint32_t daemon_min_protocol;
    uint32_t daemon_max_protocol;
    uint64_t retry_after_ms;
    /* Lists: in arrays of the caller's. To encode, lengths tell how many there are. To decode, capacities tell the arrays'
     * size, lengths are set to what the reply has, and what does not fit is left out. */
    rp_handoff_wire_text *warnings; /* NEGOTIATED */
    size_t warnings_length;
    size_t warnings_capacity;
    rp_handoff_wire_detail *details; /* REFUSED; by rising key when decoded */
    size_t details_length;
    size_t details_capacity;
} rp_handoff_wire_reply;
#define RP_HANDOFF_WIRE_REPLY_INIT                                                                                     \
    { .struct_size = sizeof(rp_handoff_wire_reply) }

/* Encodes a Hello in a frame of RP_HANDOFF_PROTOCOL_CONTROL, a REQUEST. Errors: as of encode_frame, ERR_INVALID_ARGUMENT
 * included. */
RP_HANDOFF_API int32_t rp_handoff_wire_encode_hello(const rp_handoff_wire_hello *hello, uint64_t frame_request_id,
                                                    uint8_t *out, size_t capacity, size_t *out_length);

/* Encodes a reply, a RESPONSE with the Hello's request id. Errors: as of encode_frame; ERR_INVALID_ARGUMENT also for a
 * choice that is none. */
RP_HANDOFF_API int32_t rp_handoff_wire_encode_reply(const rp_handoff_wire_reply *reply, uint64_t frame_request_id,
                                                    uint8_t *out, size_t capacity, size_t *out_length);

/* Decodes a Hello and validates its envelope. Errors: as of decode_offer, ERR_INVALID_ARGUMENT included; ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_wire_decode_hello(const uint8_t *data, size_t length,
                                                    rp_handoff_wire_hello *out_hello, uint64_t *out_frame_request_id,
                                                    size_t *out_consumed);

/* Decodes a reply and validates its envelope. `inout_reply` brings its arrays. Errors: as of decode_offer;
 * ERR_INVALID_ARGUMENT also for a capacity without an array; ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_wire_decode_reply(const uint8_t *data, size_t length,
                                                    rp_handoff_wire_reply *inout_reply, uint64_t *out_frame_request_id,
                                                    size_t *out_consumed);

/* BORROWS both. One sendmsg(2) that never waits: `fd` rides on the first of the `length` bytes (at least 1). Gives the
 * number of bytes that left; after a short count the descriptor has left too: finish the bytes without it.
 * Errors: ERR_INVALID_ARGUMENT (a negative descriptor, no bytes), ERR_SYSTEM (nothing left), ERR_UNSUPPORTED. */
RP_HANDOFF_API int32_t rp_handoff_wire_send(int32_t connection_fd, int32_t fd, const uint8_t *data, size_t length,
                                            size_t *out_sent);

/* BORROWS the connection and GIVES the descriptor that came with exactly `length` bytes (at least 1). Waits at most
 * `timeout_ns` for all of them. Surplus descriptors are closed, and on every failure all of them are. Bytes received before
 * a failure are lost: close the connection. Errors: ERR_INVALID_ARGUMENT (a negative descriptor, no bytes), ERR_CLOSED
 * (nothing came), ERR_UNEXPECTED_EOF, ERR_TIMED_OUT, ERR_DESCRIPTORS (none, several, or the kernel had to drop some: out of
 * descriptors), ERR_SYSTEM, ERR_UNSUPPORTED. */
RP_HANDOFF_API int32_t rp_handoff_wire_receive(int32_t connection_fd, uint8_t *data, size_t length, uint64_t timeout_ns,
                                               int32_t *out_fd);

/* -------------------------------------------------------------------------------------------------- queue ---- */

/* A bounded first-in-first-out queue for connections that wait for a backend; who waited too long is dropped. */
typedef struct rp_handoff_queue rp_handoff_queue;

/* Settings of a queue. */
typedef struct rp_handoff_queue_options {
    uint32_t struct_size;
    uint32_t capacity;     /* default 64, at most 1048576 */
    uint64_t ttl_ns;       /* default 100 ms */
    rp_handoff_now_fn now; /* NULL: CLOCK_MONOTONIC */
    void *time_user_data;  /* for now */
} rp_handoff_queue_options;
#define RP_HANDOFF_QUEUE_OPTIONS_INIT                                                                                  \
    { .struct_size = sizeof(rp_handoff_queue_options) }

/* Makes a queue. `options` may be NULL: all defaults. Errors: ERR_INVALID_ARGUMENT (capacity above its limit),
 * ERR_UNSUPPORTED, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_queue_create(const rp_handoff_queue_options *options, rp_handoff_queue **out_queue,
                                               rp_handoff_error *out_error);

/* Closes the descriptors that are still in it, as expire does. Accepts NULL. Never fails. */
RP_HANDOFF_API void rp_handoff_queue_destroy(rp_handoff_queue *queue);

/* TAKES ON SUCCESS the descriptor. Expired entries are dropped first, as by expire. Errors: ERR_INVALID_ARGUMENT (a negative
 * descriptor), ERR_LIMIT (full: a fallback with RP_HANDOFF_REASON_FD_PRESSURE_DISABLED), ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_queue_enqueue(rp_handoff_queue *queue, int32_t fd, uint64_t user_data);

/* GIVES the descriptor that waited longest: 1, or 0 if there is none. `out_user_data` may be NULL.
 * Errors: ERR_INVALID_ARGUMENT (no out_fd). */
RP_HANDOFF_API int32_t rp_handoff_queue_dequeue(rp_handoff_queue *queue, int32_t *out_fd, uint64_t *out_user_data);

/* Drops what expired: how many. By close(2) alone: a connection that was offered before may live on in a stopped
 * backend's queue, and then its client sees no end. Dequeue such ones in time, to shutdown(2) them.
 * Errors: ERR_INVALID_ARGUMENT (NULL). */
RP_HANDOFF_API int32_t rp_handoff_queue_expire(rp_handoff_queue *queue, uint32_t *out_expired);

/* The number of entries held, expired ones that were not dropped yet included. Errors: ERR_INVALID_ARGUMENT (NULL). */
RP_HANDOFF_API int32_t rp_handoff_queue_get_length(rp_handoff_queue *queue, uint32_t *out_length);

/* ----------------------------------------------------------------------------------------------- latency ---- */

/* Does a handoff beat the reconnect that it replaces? Percentiles are by nearest rank: of n sorted samples the one with
 * number ceil(n * p / 100), counted from one. A sample is taken by this. */
typedef int32_t (*rp_handoff_sample_fn)(void *user_data, uint64_t *out_elapsed_ns);

/* Calls `sample` warmup + count times and keeps the last `count` results, in order. Takes as long as they take.
 * Errors: ERR_INVALID_ARGUMENT (NULL, or the first sample that does not succeed, which ends it). */
RP_HANDOFF_API int32_t rp_handoff_latency_collect(uint32_t warmup, uint32_t count, rp_handoff_sample_fn sample,
                                                  void *user_data, uint64_t *out_samples_ns);

/* What the samples of one kind amount to. */
typedef struct rp_handoff_latency_summary {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    uint64_t count;    /* of samples */
    uint64_t p50_ns;   /* the median */
    uint64_t p99_ns;   /* the 99th percentile */
} rp_handoff_latency_summary;
#define RP_HANDOFF_LATENCY_SUMMARY_INIT                                                                                \
    { .struct_size = sizeof(rp_handoff_latency_summary) }

/* Sums samples up: 1, or 0 if there are none. Errors: ERR_INVALID_ARGUMENT (a length without samples), ERR_NO_MEMORY (a copy
 * is sorted). */
RP_HANDOFF_API int32_t rp_handoff_latency_summarize(const uint64_t *samples_ns, size_t samples_ns_length,
                                                    rp_handoff_latency_summary *out_summary);

/* Both kinds side by side; what a handoff saves is the fallback's less its own. */
typedef struct rp_handoff_latency_comparison {
    uint32_t struct_size;
    uint32_t reserved;        /* 0 */
    uint64_t handoff_p50_ns;  /* of handoffs */
    uint64_t handoff_p99_ns;  /* of handoffs */
    uint64_t fallback_p50_ns; /* of fallbacks */
    uint64_t fallback_p99_ns; /* of fallbacks */
    uint64_t p50_savings_ns;  /* the difference */
    uint64_t p99_savings_ns;  /* the difference */
} rp_handoff_latency_comparison;
#define RP_HANDOFF_LATENCY_COMPARISON_INIT                                                                             \
    { .struct_size = sizeof(rp_handoff_latency_comparison) }

/* Compares. Success only if the handoff is strictly faster at both percentiles. Errors: ERR_INVALID_ARGUMENT (a length
 * without samples); ERR_EMPTY_HANDOFF, ERR_EMPTY_FALLBACK, ERR_P50_NOT_FASTER, ERR_P99_NOT_FASTER: the first that applies;
 * ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_latency_compare(const uint64_t *handoff_ns, size_t handoff_ns_length,
                                                  const uint64_t *fallback_ns, size_t fallback_ns_length,
                                                  rp_handoff_latency_comparison *out_comparison);

#ifdef __cplusplus
}
#endif

#endif
