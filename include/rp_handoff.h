/*
 * rp_handoff.h - hand a live connection from one process to another.
 *
 * A BROKER accepts a client's connection, decides which BACKEND should serve it, and hands the live connection over
 * a Unix socket: one sendmsg(2) carries the descriptor (SCM_RIGHTS), a 128-bit one-time token and a framed offer; the
 * backend acknowledges before a deadline. When anything goes wrong the handoff is abandoned and its token revoked: a
 * FALLBACK, which is an outcome, never an error. The connection is the broker's again then, to be served or offered to
 * another; or (in the v1 exchange only) nobody can know, and the client sees its end and reconnects.
 *
 * This header is the manual. It needs a C99 or C++11 compiler; from another language it needs nothing but dlopen(3).
 *
 * LIFECYCLE
 *
 *   broker                                            backend
 *   ------                                            -------
 *   rp_handoff_broker_create                          rp_handoff_backend_create
 *     for each client connection:                     rp_handoff_backend_listen (or add_listener, add_connection)
 *       rp_handoff_broker_issue    -> token             repeat:
 *       rp_handoff_broker_execute  -> outcome             rp_handoff_backend_next_offer -> offer
 *       close(2) the connection, or serve it              rp_handoff_offer_accept -> descriptor, or ..._refuse
 *   rp_handoff_broker_destroy                             rp_handoff_offer_destroy
 *                                                     rp_handoff_backend_destroy
 *
 *   That is the v1 exchange: one connection to the backend for each handoff, and a wire that peers in other languages
 *   speak already. Where both ends use this library, a SESSION (see there) is cheaper and knows better: many handoffs
 *   share one connection, any event loop can drive it, and no outcome is ever AMBIGUOUS.
 *
 * OWNERSHIP OF THE CONNECTION
 *
 *   Every outcome says who may use the connection from now on:
 *     BROKER     No honest backend can adopt it any more. Serve it, proxy it, offer it again with a fresh token, or
 *                end it with shutdown(2) and then close(2): a duplicate may live on in a stopped backend's queue, and a
 *                bare close(2) would then give the client no end of file.
 *     BACKEND    The backend has adopted it. close(2) your copy; do not shutdown(2), which acts on all duplicates.
 *     AMBIGUOUS  The backend may or may not have adopted it. Treat it as BACKEND: close(2) only, never serve or proxy
 *                it. If the backend did adopt it the client is served; otherwise it sees the end of its connection
 *                and reconnects. This can happen only once the descriptor has left, and never in a session.
 *
 * OWNERSHIP OF DESCRIPTORS
 *
 *   A word in capitals tells: a call BORROWS a descriptor (it stays yours, is never closed and its flags are
 *   never changed), TAKES it ON SUCCESS (on failure it is still yours), or GIVES you one (yours to close). Every
 *   descriptor that the library receives or makes is close-on-exec from the start. File status flags, offset and socket
 *   options belong to the open file description and are shared by both processes: changing O_NONBLOCK on your copy
 *   changes it for the other side too. epoll(7) goes on reporting a description for as long as any duplicate is open:
 *   remove the descriptor from your epoll set before you hand it over.
 *
 * MEMORY
 *
 *   Handles are opaque. X_create gives one, X_destroy ends it and accepts NULL. Using a handle after its destroy is
 *   undefined; passing a live handle of another kind is reported as RP_HANDOFF_ERR_WRONG_HANDLE. Text and bytes that a
 *   call is given are copied before it returns; text that it gives out belongs to the handle or is static, as stated.
 *   On memory exhaustion calls return RP_HANDOFF_ERR_NO_MEMORY and change nothing, but that next_offer has dropped the
 *   connection whose offer it could not remember.
 *
 * ERRORS
 *
 *   A call that can fail returns int32_t: 0 or positive is success, a negative RP_HANDOFF_ERR_ value is not. Out
 *   parameters come last and are untouched on failure. RP_HANDOFF_ERR_SYSTEM leaves the cause in errno. The library
 *   writes nothing to standard output or standard error, raises no signal (MSG_NOSIGNAL), never aborts on bad input,
 *   lets no C++ exception out, starts no thread and keeps no global state.
 *
 * STRUCTS
 *
 *   Options, requests and results begin with struct_size: set it to sizeof the struct as you compiled it, and every
 *   other member that you do not care about to zero, which means its default. A library that is newer than your header
 *   uses defaults for what you do not know; an older one that finds a non-zero member which it does not know answers
 *   RP_HANDOFF_ERR_UNSUPPORTED, so that no setting is dropped in silence. Of a result it fills in what both know.
 *
 * TIME
 *
 *   Durations and instants are nanoseconds in a uint64_t. Instants are of CLOCK_MONOTONIC unless you give a clock of
 *   your own. A limit L is passed when now >= L: equality counts as late, everywhere. An instant plus a duration that
 *   does not fit is taken as due at once. A handoff has one deadline, fixed when its token is issued; dialling, sending
 *   and waiting for the answer all end at it, and a peer that trickles bytes cannot stretch it.
 *
 * THREADS, FORK, SIGNALS
 *
 *   A handle may be used by several threads at once, except that its destroy must be the last call on it. Locks are
 *   held for short computations only, never during a system call that can wait nor while a callback of yours runs; so
 *   execute and next_offer may run in many threads side by side. After fork(2) a child may only destroy the handles it
 *   inherited, which then closes its copies of descriptors and touches nothing that the parent uses. (If another thread
 *   was in a call on a session at the fork, its copies stay open.) System calls interrupted by a signal are repeated
 *   until the deadline, and pthread_cancel(3) takes effect only after a call returned. Only rp_handoff_backend_stop is
 *   async-signal-safe.
 *
 * CALLBACKS
 *
 *   A callback runs on the thread that made the call and before that call returns, with no lock held, and may call
 *   back into this API, but not destroy the handle in use. It succeeds only by returning exactly
 *   RP_HANDOFF_CALLBACK_OK *and* filling in its results, which are set to failure before it is called: a callback
 *   across a foreign-function boundary that raised returns garbage, and garbage is never taken for success.
 *
 * SECURITY
 *
 *   Tokens come from getrandom(2), are compared in constant time, are wiped from memory when they end, and appear in no
 *   text. Who is at the other end comes from the kernel (SO_PEERCRED), never from what a peer says of itself.
 *   Everything that a peer can make this library hold is bounded.
 */
#ifndef RP_HANDOFF_H
#define RP_HANDOFF_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RP_HANDOFF_API __attribute__((visibility("default")))
#else
#define RP_HANDOFF_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ version ---- */

/* The version of this header; rp_handoff_version() tells that of the library. Until 1.0 the minor number changes with
 * every incompatible change and the soname stays librp_handoff.so.0: who loads the library at run time compares
 * rp_handoff_version() with the version that he was written for. */
#define RP_HANDOFF_VERSION_MAJOR 0
#define RP_HANDOFF_VERSION_MINOR 1
#define RP_HANDOFF_VERSION_PATCH 0

/* major * 1000000 + minor * 1000 + patch of the library. Never fails. */
RP_HANDOFF_API uint32_t rp_handoff_version(void);

/* The same as static text, for instance "0.1.0". */
RP_HANDOFF_API const char *rp_handoff_version_string(void);

/* ------------------------------------------------------------------------------------------------- status ---- */

enum {
    RP_HANDOFF_OK = 0,
    /* Of rp_handoff_offer_accept: adopted, but the acknowledgement could not be delivered. */
    RP_HANDOFF_ACK_UNDELIVERED = 1,

    RP_HANDOFF_ERR_INVALID_ARGUMENT = -1,   /* NULL, out of range, text that is not UTF-8, contradicting settings */
    RP_HANDOFF_ERR_WRONG_HANDLE = -2,       /* a live handle of another kind */
    RP_HANDOFF_ERR_UNSUPPORTED = -3,        /* not on this platform, or a setting newer than this library */
    RP_HANDOFF_ERR_NO_MEMORY = -4,          /* nothing was changed */
    RP_HANDOFF_ERR_SYSTEM = -5,             /* a system call failed: errno tells */
    RP_HANDOFF_ERR_INTERNAL = -6,           /* a defect of this library; nothing else answers so */
    RP_HANDOFF_ERR_RANDOM = -7,             /* the source of random bytes failed */
    RP_HANDOFF_ERR_LIMIT = -8,              /* a bound of the options is reached: pending tokens, connections */
    RP_HANDOFF_ERR_TIMED_OUT = -9,          /* the deadline or timeout passed */
    RP_HANDOFF_ERR_CLOSED = -10,            /* stopped, or the peer closed before its first byte */
    RP_HANDOFF_ERR_BUFFER_TOO_SMALL = -11,  /* the caller's buffer cannot hold the result */
    RP_HANDOFF_ERR_UNAVAILABLE = -12,       /* nobody listens there; a session is not open yet */
    RP_HANDOFF_ERR_LIMIT_SESSION = -13,     /* a session's max_in_flight is reached */
    RP_HANDOFF_ERR_LIMIT_DESCRIPTORS = -14, /* the broker's share of RLIMIT_NOFILE is in flight, over all sessions */
    RP_HANDOFF_ERR_LIMIT_BYTES = -15,       /* a session's max_queued_bytes is reached */

    RP_HANDOFF_ERR_TOKEN_COLLISION = -20,   /* every random value that was tried is pending already */
    RP_HANDOFF_ERR_TOKEN_MISSING = -21,     /* no token was presented */
    RP_HANDOFF_ERR_TOKEN_LENGTH = -22,      /* a token is exactly 16 bytes */
    RP_HANDOFF_ERR_TOKEN_MISMATCH = -23,    /* another token than the expected one; neither is consumed */
    RP_HANDOFF_ERR_TOKEN_EXPIRED = -24,     /* its time to live has passed; it is gone */
    RP_HANDOFF_ERR_TOKEN_NOT_PENDING = -25, /* never issued here, or consumed, revoked or expired before */
    RP_HANDOFF_ERR_TOKEN_IN_USE = -26,      /* another call is executing its handoff right now */
    RP_HANDOFF_ERR_ACK_OVERDUE = -27,       /* acknowledged at or after its deadline; the token is revoked */

    RP_HANDOFF_ERR_PATH_INVALID = -30,  /* empty, abstract ('@' or NUL first), or longer than a sockaddr_un holds */
    RP_HANDOFF_ERR_PATH_UNSAFE = -31,   /* its directory is a link, not ours, or open to others (mode is not 0700) */
    RP_HANDOFF_ERR_PATH_IN_USE = -32,   /* a live process listens there */
    RP_HANDOFF_ERR_PATH_FOREIGN = -33,  /* something is there that is not a stale socket of ours */
    RP_HANDOFF_ERR_PEER_REJECTED = -34, /* the other end is not one that the peer settings allow */

    RP_HANDOFF_ERR_FRAME_INCOMPLETE = -40, /* more bytes are needed */
    RP_HANDOFF_ERR_FRAME_VERSION = -41,    /* the framing byte is not 1 */
    RP_HANDOFF_ERR_FRAME_TOO_LARGE = -42,  /* the body is longer than the cap */
    RP_HANDOFF_ERR_FRAME_MALFORMED = -43,  /* the body is not a valid protobuf message */
    RP_HANDOFF_ERR_FRAME_UNEXPECTED = -44, /* a valid frame of another kind, protocol, encoding, version or id */
    RP_HANDOFF_ERR_UNEXPECTED_EOF = -45,   /* the peer closed in the middle */
    RP_HANDOFF_ERR_DESCRIPTORS = -46,      /* not exactly one descriptor came with the bytes */

    RP_HANDOFF_ERR_ANSWERED = -50, /* the offer was accepted or refused before */
    RP_HANDOFF_ERR_REVOKED = -51,  /* the broker had revoked the offer: the connection is not ours */
    RP_HANDOFF_ERR_PROTOCOL = -52, /* the peer of a session broke the protocol */

    RP_HANDOFF_ERR_EMPTY_HANDOFF = -60,  /* no samples of handoffs */
    RP_HANDOFF_ERR_EMPTY_FALLBACK = -61, /* no samples of fallbacks */
    RP_HANDOFF_ERR_P50_NOT_FASTER = -62, /* the median handoff is not strictly faster */
    RP_HANDOFF_ERR_P99_NOT_FASTER = -63  /* the median is, the 99th percentile is not */
};

/* A sentence in English for any status; static text, never NULL. */
RP_HANDOFF_API const char *rp_handoff_strerror(int32_t status);

/* What a callback returns to say that it succeeded. Every other value is a failure. */
enum { RP_HANDOFF_CALLBACK_OK = 0x52504F4B };

/* For timeouts: no limit. */
#define RP_HANDOFF_FOREVER UINT64_MAX

/* What this library can do here. in_flight_exempt: whether this process is exempt from the kernel's limit on
 * descriptors in flight, which counts per user against RLIMIT_NOFILE (unix(7), ETOOMANYREFS); the capabilities
 * CAP_SYS_RESOURCE and CAP_SYS_ADMIN exempt. Read through libcap; UNKNOWN in a build without it. */
enum { RP_HANDOFF_EXEMPT_UNKNOWN = 0, RP_HANDOFF_EXEMPT_NO = 1, RP_HANDOFF_EXEMPT_YES = 2 };
typedef struct rp_handoff_platform {
    uint32_t struct_size;
    int32_t descriptor_passing; /* 1: execute can hand over; 0: every execute is a fallback, "unsupported platform" */
    int32_t in_flight_exempt;   /* RP_HANDOFF_EXEMPT_ */
} rp_handoff_platform;

/* Fills in what holds for this process now: capabilities can change. */
RP_HANDOFF_API int32_t rp_handoff_get_platform(rp_handoff_platform *out_platform);

/* -------------------------------------------------------------------------------------------------- token ---- */

/* The length of a token in bytes. */
enum { RP_HANDOFF_TOKEN_SIZE = 16 };

/* A one-time secret. Wipe your copies when you are done with them. */
typedef struct rp_handoff_token {
    uint8_t bytes[16];
} rp_handoff_token;

/* Sixteen bytes of getrandom(2). ERR_RANDOM. */
RP_HANDOFF_API int32_t rp_handoff_token_generate(rp_handoff_token *out_token);

/* ERR_TOKEN_MISSING for length 0, ERR_TOKEN_LENGTH for any length but 16. */
RP_HANDOFF_API int32_t rp_handoff_token_from_bytes(const uint8_t *bytes, size_t length, rp_handoff_token *out_token);

/* 1 if equal, 0 if not or if either is NULL; the time it takes tells nothing of the bytes. */
RP_HANDOFF_API int32_t rp_handoff_token_equal(const rp_handoff_token *a, const rp_handoff_token *b);

/* Overwrites the token with zeros in a way that a compiler does not remove. Accepts NULL. */
RP_HANDOFF_API void rp_handoff_token_wipe(rp_handoff_token *token);

/* ----------------------------------------------------------------------------------- replaceable sources ---- */

/* The present instant. It must not run backwards by itself; the library stays correct if it does. A clock that fails is
 * read as the end of time: everything is due. */
typedef int32_t (*rp_handoff_now_fn)(void *user_data, uint64_t *out_now_ns);

/* Waits until `fd` (borrowed) is ready for `events` (poll(2)'s POLLIN, POLLOUT) or the clock reaches `until_ns`
 * (UINT64_MAX: no limit). Sets *out_ready to 1 if ready (an error or hang-up counts as ready), to 0 if the time passed:
 * then what waited ends, whatever `now` says, so that a clock that stands still cannot make anything hang. A wait that
 * fails counts as 0. */
typedef int32_t (*rp_handoff_wait_fn)(void *user_data, int32_t fd, int32_t events, uint64_t until_ns,
                                      int32_t *out_ready);

/* Fills `out` with `length` random bytes. */
typedef int32_t (*rp_handoff_random_fn)(void *user_data, uint8_t *out, size_t length);

/* Whom to talk to. By default a peer must have this process's effective user id. `peer_uids` names the allowed user
 * ids instead (so include your own if it is to stay allowed). What the kernel reports of a path endpoint is the process
 * that called listen(2) and, on the listening side, the process that connected. */
enum {
    RP_HANDOFF_PEER_ANY_UID = 1u << 0,  /* anyone who can reach the socket */
    RP_HANDOFF_PEER_MATCH_PID = 1u << 1 /* broker: the process that listens there must have the pid that the token
                                           was issued for (tokens issued for pid 0 are not checked) */
};

/* For a connection or listener that was made elsewhere, the kernel names the process that called connect(2), listen(2)
 * or socketpair(2), which is not always the one that holds the other end: an inherited socketpair, an activated
 * listener. So the caller has to say on what its trust rests. There is no default. */
enum {
    RP_HANDOFF_TRUST_CREDENTIALS = 1, /* check those credentials against the peer settings all the same */
    RP_HANDOFF_TRUST_CALLER = 2       /* the caller vouches for whoever holds the other end */
};

/* ------------------------------------------------------------------------------------------------- broker ---- */

typedef struct rp_handoff_broker rp_handoff_broker;

typedef struct rp_handoff_broker_options {
    uint32_t struct_size;
    uint32_t peer_flags;         /* RP_HANDOFF_PEER_ */
    const uint32_t *peer_uids;   /* copied; see "Whom to talk to" */
    uint32_t peer_uid_count;     /* at most 64; 0: this process's effective user id */
    uint32_t max_pending;        /* tokens issued and not yet ended; default 1024, at most 16777216 */
    uint64_t token_ttl_ns;       /* default 30 s */
    uint64_t ack_deadline_ns;    /* from issue to acknowledgement; default 5 s, must be less than token_ttl_ns */
    uint32_t collision_attempts; /* random values tried before ERR_TOKEN_COLLISION; default 16 */
    uint32_t max_frame_bytes;    /* longest answer read from a backend; default 65536, at most 16777216 */
    rp_handoff_now_fn now;       /* now and wait: both or none */
    rp_handoff_wait_fn wait;
    void *time_user_data;
    rp_handoff_random_fn random;
    void *random_user_data;
    /* Of the policy (see "policy"): */
    uint32_t max_failed_attempts;       /* per backend and window; default 8 */
    uint32_t max_backends;              /* with failures, remembered at once; default 1024, at most 1048576 */
    uint64_t failed_attempts_window_ns; /* default 30 s */
    uint32_t recovery_accepts;          /* in a row, that end descriptor pressure; default 3 */
    uint32_t
        in_flight_percent; /* share of RLIMIT_NOFILE (as it was at create) that the unanswered handoffs of all sessions
                                   together may take; default 50, at most 100 */
} rp_handoff_broker_options;

/* `options` may be NULL: all defaults. ERR_INVALID_ARGUMENT, ERR_UNSUPPORTED, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_broker_create(const rp_handoff_broker_options *options,
                                                rp_handoff_broker **out_broker);

/* Wipes and revokes all that is pending. Closes the sockets, kept to count what lies in them, of sessions that ended
 * with offers unread; a broker holds no others between calls. */
RP_HANDOFF_API void rp_handoff_broker_destroy(rp_handoff_broker *broker);

/* Issues a token for one handoff and registers the acknowledgement it awaits: its deadline starts now. `service_name`
 * (UTF-8, at most 255 bytes, not NULL) travels in the offer; `backend_pid` is bookkeeping unless
 * RP_HANDOFF_PEER_MATCH_PID is set, 0 for unknown. The token ends by execute, acknowledge, revoke or sweep. Expired
 * tokens do not count. ERR_LIMIT, ERR_RANDOM, ERR_TOKEN_COLLISION, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_broker_issue(rp_handoff_broker *broker, const char *service_name,
                                               uint32_t backend_pid, rp_handoff_token *out_token);

/* Outcome of a handoff. The numbers are stable and never reused. */
enum {
    RP_HANDOFF_COMPLETED = 1, /* acknowledged in time: BACKEND */
    RP_HANDOFF_FALLBACK = 2   /* abandoned: `ownership` says whose the connection is */
};
enum { RP_HANDOFF_OWNER_BROKER = 1, RP_HANDOFF_OWNER_BACKEND = 2, RP_HANDOFF_OWNER_AMBIGUOUS = 3 };
enum {
    RP_HANDOFF_STAGE_NONE = 0,        /* completed */
    RP_HANDOFF_STAGE_SEND = 1,        /* dialling, checking the peer, sending descriptor, token and offer */
    RP_HANDOFF_STAGE_AWAIT_ACK = 2,   /* waiting for the backend's answer */
    RP_HANDOFF_STAGE_ACKNOWLEDGE = 3, /* the answer came, but the token was no longer to be had */
    RP_HANDOFF_STAGE_POLICY = 4,      /* not attempted: the policy objected */
    RP_HANDOFF_STAGE_DUPLICATE = 5,   /* value handoffs: duplicating the handle into the backend */
    RP_HANDOFF_STAGE_DELIVER = 6      /* value handoffs: telling the backend its handle */
};
/* Why it was abandoned, in the v1 protocol's eight words. `cause` is finer. */
enum {
    RP_HANDOFF_REASON_NONE = 0,
    RP_HANDOFF_REASON_CLIENT_UNSUPPORTED = 1,
    RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED = 2, /* also: not supported on this platform */
    RP_HANDOFF_REASON_FD_PRESSURE_DISABLED = 3,    /* descriptors are short, here or in flight */
    RP_HANDOFF_REASON_FAILED_ATTEMPT_RATE_LIMITED = 4,
    RP_HANDOFF_REASON_PERMISSION_DENIED = 5,
    RP_HANDOFF_REASON_INTEGRITY_MISMATCH = 6,
    RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT = 7, /* the backend never proved adoption, for whatever cause */
    RP_HANDOFF_REASON_ADOPTED_BACKEND = 8
};
enum {
    RP_HANDOFF_CAUSE_NONE = 0,
    RP_HANDOFF_CAUSE_UNSUPPORTED_PLATFORM = 1,
    RP_HANDOFF_CAUSE_PERMISSION_DENIED = 2,     /* connect or sendmsg: EACCES, EPERM */
    RP_HANDOFF_CAUSE_PEER_REJECTED = 3,         /* the endpoint is not whom the peer settings allow; nothing was sent */
    RP_HANDOFF_CAUSE_PEER_UNKNOWN = 4,          /* the kernel does not tell who it is; nothing was sent */
    RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE = 5,   /* nobody listens there, or the connection is gone */
    RP_HANDOFF_CAUSE_WOULD_BLOCK = 6,           /* the socket, its backlog or the kernel's buffers are full */
    RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE = 7,   /* ETOOMANYREFS, EMFILE, ENFILE */
    RP_HANDOFF_CAUSE_SEND_FAILED = 8,           /* any other errno, in os_error */
    RP_HANDOFF_CAUSE_PARTIAL_SEND = 9,          /* some of the token's bytes left, and the descriptor with the first */
    RP_HANDOFF_CAUSE_OFFER_UNDELIVERED = 10,    /* descriptor and token left, the offer could not follow */
    RP_HANDOFF_CAUSE_DEADLINE_BEFORE_SEND = 11, /* the deadline had passed before anything was sent */
    RP_HANDOFF_CAUSE_ACK_TIMED_OUT = 12,
    RP_HANDOFF_CAUSE_ACK_READ_FAILED = 13,
    RP_HANDOFF_CAUSE_BACKEND_CLOSED = 14,  /* end of file or reset instead of an answer */
    RP_HANDOFF_CAUSE_ACK_MALFORMED = 15,   /* not an acknowledgement by the rules of the wire */
    RP_HANDOFF_CAUSE_ACK_UNRELATED = 16,   /* a well-formed one of another token or correlation id */
    RP_HANDOFF_CAUSE_BACKEND_REFUSED = 17, /* refused in so many words: BROKER */
    RP_HANDOFF_CAUSE_ACK_OVERDUE = 18,     /* observed at or after the deadline */
    RP_HANDOFF_CAUSE_REVOKED = 19,         /* revoked or swept by another call while the answer was awaited */
    RP_HANDOFF_CAUSE_CALLBACK_FAILED = 20, /* a callback failed, or broke its contract */
    RP_HANDOFF_CAUSE_NO_MEMORY = 21,
    RP_HANDOFF_CAUSE_POLICY = 22,             /* not attempted; `reason` tells the objection */
    RP_HANDOFF_CAUSE_DUPLICATE_FAILED = 23,   /* value handoffs */
    RP_HANDOFF_CAUSE_OFFER_FAILED = 24,       /* value handoffs: the backend could not be told; it cannot adopt */
    RP_HANDOFF_CAUSE_INTEGRITY_MISMATCH = 25, /* value handoffs: the backend is not the process it should be */
    RP_HANDOFF_CAUSE_SESSION_LOST = 26,       /* the session ended before the answer */
    RP_HANDOFF_CAUSE_CANCELLED = 27,          /* by rp_handoff_session_cancel or ..._destroy */
    RP_HANDOFF_CAUSE_BACKEND_DESCRIPTORS = 28 /* the backend ran out of descriptors: the offer came without */
};

typedef struct rp_handoff_outcome {
    uint32_t struct_size;
    int32_t result;                   /* RP_HANDOFF_COMPLETED or RP_HANDOFF_FALLBACK */
    int32_t ownership;                /* RP_HANDOFF_OWNER_ */
    int32_t stage;                    /* RP_HANDOFF_STAGE_ */
    int32_t reason;                   /* RP_HANDOFF_REASON_ */
    int32_t cause;                    /* RP_HANDOFF_CAUSE_ */
    int32_t os_error;                 /* errno of the system call that failed, 0 if none did */
    int32_t may_have_reached_backend; /* 1: the descriptor, or a part of the message with it, has left */
    uint64_t correlation_id;
    uint64_t waited_ns;      /* COMPLETED: from issue to the acknowledgement */
    uint64_t elapsed_ns;     /* the whole call, by the broker's clock */
    char detail[256];        /* UTF-8, NUL-terminated, free of control characters and of token bytes; for logs */
    uint64_t retry_after_ns; /* REASON_FAILED_ATTEMPT_RATE_LIMITED: when to try again; otherwise 0 */
} rp_handoff_outcome;

/* ---- policy ----
 *
 * Whether to attempt a handoff at all, and what became of the last ones. Failures are counted per backend in a window
 * that starts at the first; at its end, or with a success, the backend starts anew. Descriptor pressure begins with
 * an accept(2) or a send that ran out of descriptors and ends after recovery_accepts successful accepts in a row.
 */

/* A backend: all of it takes part in equality, so that the same version built anew is another one. Texts may be NULL
 * for empty; they are copied. */
enum { RP_HANDOFF_INSTANCE_SHARED = 0, RP_HANDOFF_INSTANCE_PRIVATE = 1, RP_HANDOFF_INSTANCE_EXPLICIT = 2 };
typedef struct rp_handoff_backend_key {
    uint32_t struct_size;
    int32_t instance;          /* RP_HANDOFF_INSTANCE_ */
    const char *instance_name; /* PRIVATE: of the service; EXPLICIT: its name; SHARED: not looked at */
    const char *service_name;
    const char *service_version;
    const char *executable_hash; /* for instance the lower-case hexadecimal BLAKE3 of the executable */
} rp_handoff_backend_key;

/* What an attempt is about. */
typedef struct rp_handoff_subject {
    uint32_t struct_size;
    int32_t client_supports; /* 1: the client said that it can keep a handed-over connection */
    int32_t service_enabled; /* 1: the service's settings allow it */
    int32_t fd_pressure;     /* 1: short of descriptors, beside what the broker's own guard knows */
    int32_t adopted_backend; /* 1: inherited from an earlier broker */
    uint32_t reserved;       /* 0 */
    const rp_handoff_backend_key *backend;
} rp_handoff_subject;

typedef struct rp_handoff_decision {
    uint32_t struct_size;
    int32_t attempt; /* 1: attempt; 0: let the client reconnect */
    int32_t reason;  /* RP_HANDOFF_REASON_, if not */
    uint32_t reserved;
    uint64_t retry_after_ns; /* of a rate limit; otherwise 0 */
} rp_handoff_decision;

/* The first objection of, in this order: client, service, descriptor pressure, adopted backend, rate limit. */
RP_HANDOFF_API int32_t rp_handoff_broker_should_attempt(rp_handoff_broker *broker, const rp_handoff_subject *subject,
                                                        rp_handoff_decision *out_decision);

/* For attempts that execute did not make. `failure`: RP_HANDOFF_REASON_PERMISSION_DENIED, ..._INTEGRITY_MISMATCH or
 * ..._BACKEND_ACK_TIMEOUT. Gives the decision that follows for this client (may be NULL). ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_broker_record_failure(rp_handoff_broker *broker,
                                                        const rp_handoff_backend_key *backend, int32_t failure,
                                                        rp_handoff_decision *out_decision);
RP_HANDOFF_API int32_t rp_handoff_broker_record_success(rp_handoff_broker *broker,
                                                        const rp_handoff_backend_key *backend);

/* The number of failures in the present window. */
RP_HANDOFF_API int32_t rp_handoff_broker_get_failure_count(rp_handoff_broker *broker,
                                                           const rp_handoff_backend_key *backend, uint32_t *out_count);

/* Tell the guard how the broker's own accept(2) went. accept_failed: 1 if that errno is about descriptors, so that
 * there is pressure now, 0 if not. accept_succeeded: 1 if that ended it, 0 otherwise. The send path tells the guard of
 * failures by itself, that of sessions too. Whoever uses a front door or a subject has to tell it of accepts: pressure
 * ends by accept_succeeded alone, and until then every Hello is refused and nothing is attempted. */
RP_HANDOFF_API int32_t rp_handoff_broker_accept_failed(rp_handoff_broker *broker, int32_t os_error);
RP_HANDOFF_API int32_t rp_handoff_broker_accept_succeeded(rp_handoff_broker *broker);
/* Begins a time of pressure without an error. */
RP_HANDOFF_API int32_t rp_handoff_broker_demote(rp_handoff_broker *broker);

/* ---- execute ---- */

/* What a transport of the caller's is asked to send: descriptor and token in one message to `socket_path`, in the form
 * that rp_handoff_wire_send sends. All members are valid during the call only; `fd` is borrowed. */
typedef struct rp_handoff_attempt {
    uint32_t struct_size;
    int32_t fd;
    const char *socket_path; /* NULL if the request had none */
    int32_t connection_fd;   /* -1 unless the request had one */
    uint32_t message_length;
    const uint8_t *message; /* token and framed offer, as one message with `fd` on its first byte */
    uint64_t deadline_ns;   /* instant */
    const rp_handoff_token *token;
    const char *service_name;
    uint64_t correlation_id;
} rp_handoff_attempt;

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
typedef struct rp_handoff_transport_result {
    uint32_t struct_size;
    int32_t status; /* RP_HANDOFF_TRANSPORT_; 0 before the call, which counts as a callback that failed */
    int32_t os_error;
    uint32_t bytes_sent;
} rp_handoff_transport_result;

/* Called exactly once per execute. A transport that fails its contract may have sent: the outcome is AMBIGUOUS. */
typedef int32_t (*rp_handoff_transport_fn)(void *user_data, const rp_handoff_attempt *attempt,
                                           rp_handoff_transport_result *out_result);

/* What a waiter of the caller's is told. `connection_fd` is the connection on which the built-in transport sent and the
 * backend answers (borrowed, blocking mode unspecified), or -1. */
typedef struct rp_handoff_ack_wait {
    uint32_t struct_size;
    int32_t connection_fd;
    const rp_handoff_token *token;
    uint64_t correlation_id;
    uint64_t deadline_ns; /* instant */
} rp_handoff_ack_wait;

enum {
    RP_HANDOFF_ACK_WAIT_ACCEPTED = 1, /* observed_ns tells when */
    RP_HANDOFF_ACK_WAIT_REFUSED = 2,  /* by a well-formed answer with this token and correlation id: BROKER */
    RP_HANDOFF_ACK_WAIT_FAILED = 3    /* no such answer */
};
typedef struct rp_handoff_ack_wait_result {
    uint32_t struct_size;
    int32_t status;       /* RP_HANDOFF_ACK_WAIT_; 0 before the call, which counts as a callback that failed */
    uint64_t observed_ns; /* instant at which the answer was there; at or after the deadline is late */
} rp_handoff_ack_wait_result;

/* Called at most once per execute, after everything was sent. */
typedef int32_t (*rp_handoff_await_ack_fn)(void *user_data, const rp_handoff_ack_wait *ack_wait,
                                           rp_handoff_ack_wait_result *out_result);

typedef struct rp_handoff_request {
    uint32_t struct_size;
    int32_t fd; /* borrowed: the client connection, any descriptor that sendmsg(2) can pass */
    rp_handoff_token token;
    const char *socket_path;  /* where the backend listens; NULL: use connection_fd */
    int32_t connection_fd;    /* borrowed: a connected Unix stream socket to the backend; read if socket_path is NULL */
    int32_t connection_trust; /* RP_HANDOFF_TRUST_, needed with connection_fd */
    uint64_t correlation_id;  /* 0: the broker's next, which are unique per broker */
    rp_handoff_transport_fn transport; /* NULL: the built-in one; otherwise await_ack must be given too */
    void *transport_user_data;
    rp_handoff_await_ack_fn await_ack; /* NULL: read the answer from the same connection */
    void *await_ack_user_data;
    const rp_handoff_subject
        *subject; /* NULL: the policy is left alone; otherwise it is asked first, and told the result */
} rp_handoff_request;

/* BORROWS request->fd and hands the connection over: dials, checks who is there, sends, waits for the answer, blocking
 * at most until the token's deadline. Success (0) means that there is an outcome; *out_outcome says which. The token
 * has ended then. A token that is not pending, or in use by another execute, is an error of the caller and nothing is
 * sent: ERR_TOKEN_NOT_PENDING, ERR_TOKEN_EXPIRED, ERR_TOKEN_IN_USE. Also ERR_INVALID_ARGUMENT, ERR_NO_MEMORY (before
 * anything is sent), ERR_PATH_INVALID. After a fallback over a connection_fd whose may_have_reached_backend is 1,
 * unless its cause is BACKEND_REFUSED, close that connection: its stream was cut, or a late answer may still come on
 * it. */
RP_HANDOFF_API int32_t rp_handoff_broker_execute(rp_handoff_broker *broker, const rp_handoff_request *request,
                                                 rp_handoff_outcome *out_outcome);

/* ---- value handoffs ----
 *
 * Where descriptors do not travel in messages (Windows), the broker duplicates a handle into the backend's own table
 * and then tells it the number. The same machine, deadlines and registry; who duplicates, delivers and waits is the
 * caller's to give. Nothing here does it by itself: without `duplicate` the outcome is "unsupported platform".
 */
typedef struct rp_handoff_value_attempt {
    uint32_t struct_size;
    uint32_t backend_pid;
    uint64_t handle; /* duplicate: the broker's; deliver: the backend's */
    const rp_handoff_token *token;
    const char *service_name;
    uint64_t correlation_id;
    uint64_t deadline_ns; /* instant */
} rp_handoff_value_attempt;

enum {
    RP_HANDOFF_DUPLICATE_DONE = 1,
    RP_HANDOFF_DUPLICATE_UNSUPPORTED = 2,
    RP_HANDOFF_DUPLICATE_CANNOT_OPEN_BACKEND = 3,
    RP_HANDOFF_DUPLICATE_PERMISSION_DENIED = 4,
    RP_HANDOFF_DUPLICATE_FAILED = 5,
    RP_HANDOFF_DUPLICATE_INTEGRITY_MISMATCH = 6
};

/* *out_status is 0 before the call, which counts as a callback that failed. */
typedef int32_t (*rp_handoff_duplicate_fn)(void *user_data, const rp_handoff_value_attempt *attempt,
                                           uint64_t *out_backend_handle, int32_t *out_status, int32_t *out_os_error);

/* Succeeds only if the backend was told. */
typedef int32_t (*rp_handoff_deliver_fn)(void *user_data, const rp_handoff_value_attempt *attempt);

typedef struct rp_handoff_value_request {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    uint64_t handle;
    rp_handoff_token token;
    uint64_t correlation_id; /* 0: the broker's next */
    rp_handoff_duplicate_fn duplicate;
    void *duplicate_user_data;
    rp_handoff_deliver_fn deliver; /* needed with duplicate */
    void *deliver_user_data;
    rp_handoff_await_ack_fn await_ack; /* needed with duplicate */
    void *await_ack_user_data;
    const rp_handoff_subject *subject;
} rp_handoff_value_request;

/* As rp_handoff_broker_execute. *out_leaked_handle (may be NULL) is, after a fallback, the handle that was left in the
 * backend's table and cannot be closed from here, or 0. */
RP_HANDOFF_API int32_t rp_handoff_broker_execute_value(rp_handoff_broker *broker,
                                                       const rp_handoff_value_request *request,
                                                       rp_handoff_outcome *out_outcome, uint64_t *out_leaked_handle);

/* For callers with sockets of their own (see "wire"): the backend acknowledged, observed at `observed_ns`. Ends the
 * token, also if it was late. Gives the nanoseconds since issue (out may be NULL). ERR_TOKEN_NOT_PENDING,
 * ERR_ACK_OVERDUE; ERR_TOKEN_IN_USE, which ends nothing. */
RP_HANDOFF_API int32_t rp_handoff_broker_acknowledge(rp_handoff_broker *broker, const rp_handoff_token *token,
                                                     uint64_t observed_ns, uint64_t *out_waited_ns);

/* Ends the token. 1 if it was pending, 0 if not. An execute that is waiting with it ends in a fallback, REVOKED, once
 * its answer or deadline comes. A session's handoff goes on, whatever this answers: rp_handoff_session_cancel ends
 * that. */
RP_HANDOFF_API int32_t rp_handoff_broker_revoke(rp_handoff_broker *broker, const rp_handoff_token *token);

typedef struct rp_handoff_overdue {
    rp_handoff_token token;
    uint32_t backend_pid;
    char service_name[256];
} rp_handoff_overdue;

/* Ends handoffs that were issued and are past their deadline, oldest first, at most `max_count` of them in one call (0:
 * 1024), except those that an execute is driving, which ends them itself. `items` may be NULL; otherwise it holds
 * `max_count` elements that are `stride` bytes apart. *out_more is 1 if there is more to do at once. Also drops expired
 * tokens. */
RP_HANDOFF_API int32_t rp_handoff_broker_sweep(rp_handoff_broker *broker, uint32_t max_count, rp_handoff_overdue *items,
                                               size_t stride, uint32_t *out_count, int32_t *out_more);

/* Counters since create, except the pending ones, which are of the moment. */
typedef struct rp_handoff_broker_statistics {
    uint32_t struct_size;
    uint32_t pending_tokens; /* expired ones among them until they are dropped, some with each call */
    uint32_t pending_acks;
    uint32_t reserved; /* 0 */
    uint64_t issued;
    uint64_t completed; /* by execute or acknowledge */
    uint64_t revoked;   /* by revoke */
    uint64_t overdue;   /* by sweep, or a late acknowledge */
    uint64_t fallbacks; /* of execute: the sum of the next three, and of fallbacks_by_reason */
    uint64_t fallbacks_owner_broker;
    uint64_t fallbacks_owner_backend;
    uint64_t fallbacks_owner_ambiguous;
    uint64_t fallbacks_by_reason[9]; /* index: RP_HANDOFF_REASON_ */
    uint32_t backends_with_failures; /* of the moment */
    int32_t fd_pressure;             /* of the moment: 1 if there is */
    uint64_t fd_pressure_episodes;
    uint64_t fd_pressure_refusals; /* Hellos that the front door refused because of it */
} rp_handoff_broker_statistics;

RP_HANDOFF_API int32_t rp_handoff_broker_get_statistics(rp_handoff_broker *broker,
                                                        rp_handoff_broker_statistics *out_statistics);

/* ------------------------------------------------------------------------------------------------ backend ---- */

typedef struct rp_handoff_backend rp_handoff_backend;
typedef struct rp_handoff_offer rp_handoff_offer;

/* Which tokens a backend takes. */
enum {
    /* That of the offer itself, provided that the 16 bytes which carried the descriptor say the same and that it was
     * not used here before (within its time to live; the last max_pending are remembered). The trust is in the broker,
     * whom the kernel identified. */
    RP_HANDOFF_TOKENS_FROM_BROKER = 0,
    /* Only those announced by rp_handoff_backend_expect: for a broker that makes its tokens known by another way. */
    RP_HANDOFF_TOKENS_EXPECTED = 1
};

typedef struct rp_handoff_backend_options {
    uint32_t struct_size;
    uint32_t peer_flags; /* RP_HANDOFF_PEER_ANY_UID */
    const uint32_t *peer_uids;
    uint32_t peer_uid_count;
    int32_t token_policy;     /* RP_HANDOFF_TOKENS_ */
    uint32_t max_connections; /* from brokers, and unanswered offers, at once; default 64, at most 65536 */
    uint32_t max_pending;     /* expected or remembered tokens; default 1024, at most 16777216 */
    uint64_t token_ttl_ns;    /* default 30 s */
    uint64_t io_timeout_ns; /* for a whole offer, from accept(2), from the last answer, or (after add_connection, where
                                 idle costs nothing) from its first byte; and for writing an answer; default 5 s */
    uint32_t max_frame_bytes; /* longest offer; default 65536, at most 16777216 */
    uint32_t reserved;        /* 0 */
    rp_handoff_now_fn now;    /* now and wait: both or none */
    rp_handoff_wait_fn wait;
    void *time_user_data;
} rp_handoff_backend_options;

/* `options` may be NULL: all defaults. ERR_INVALID_ARGUMENT, ERR_UNSUPPORTED, ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_backend_create(const rp_handoff_backend_options *options,
                                                 rp_handoff_backend **out_backend);

/* Closes its listeners and connections, with the descriptors of offers that nobody took, and removes the socket that
 * listen made, if it is still there. Offers already given out stay valid and can still be answered. In a forked child
 * it closes the child's copies and removes nothing. */
RP_HANDOFF_API void rp_handoff_backend_destroy(rp_handoff_backend *backend);

/* Makes a Unix stream socket at `path`, mode 0600, in an existing directory that is really a directory, belongs to the
 * effective user and has mode 0700. A stale socket of the same user is replaced; a live one, one of another user, or
 * anything else in that place is refused, and so are abstract names, which have no permissions. Another user, root
 * apart, cannot reach it, whatever peer_uids says: for one, add a listener or connection of your own. ERR_PATH_INVALID,
 * ERR_PATH_UNSAFE, ERR_PATH_IN_USE, ERR_PATH_FOREIGN, ERR_LIMIT (one path per backend), ERR_SYSTEM.
 */
RP_HANDOFF_API int32_t rp_handoff_backend_listen(rp_handoff_backend *backend, const char *path);

/* TAKES ON SUCCESS a listening Unix stream socket (socket activation) and makes it non-blocking. `trust`:
 * RP_HANDOFF_TRUST_, applied to each broker that connects. An abstract address is ERR_PATH_INVALID. ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_backend_add_listener(rp_handoff_backend *backend, int32_t fd, int32_t trust);

/* TAKES ON SUCCESS a connected Unix stream socket to a broker, which may send many offers over it, one after the other.
 * ERR_PEER_REJECTED, ERR_LIMIT, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_backend_add_connection(rp_handoff_backend *backend, int32_t fd, int32_t trust);

/* Announces a token for RP_HANDOFF_TOKENS_EXPECTED; its time to live starts now. Announcing it again starts it anew.
 * ERR_LIMIT, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_backend_expect(rp_handoff_backend *backend, const rp_handoff_token *token);

/* Takes an announcement back: 1 if it was pending, 0 if not. */
RP_HANDOFF_API int32_t rp_handoff_backend_revoke(rp_handoff_backend *backend, const rp_handoff_token *token);

/* For callers with sockets of their own: consumes an announced token if the presented bytes are it. ERR_TOKEN_MISSING,
 * ERR_TOKEN_LENGTH, then ERR_TOKEN_NOT_PENDING, ERR_TOKEN_EXPIRED, ERR_TOKEN_MISMATCH, in this order; a mismatch
 * consumes nothing. */
RP_HANDOFF_API int32_t rp_handoff_backend_consume(rp_handoff_backend *backend, const rp_handoff_token *expected,
                                                  const uint8_t *presented, size_t presented_length);

/* Waits at most `timeout_ns` (0: do not wait; RP_HANDOFF_FOREVER) for the next valid offer and GIVES it. Offers that
 * are malformed or carry an unacceptable token are answered with a refusal, their descriptors closed, and counted; they
 * are not seen here. Several threads may wait: each offer goes to one of them. While as many offers as max_connections
 * are unanswered, no further ones are read. ERR_TIMED_OUT, ERR_CLOSED (after stop), ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_backend_next_offer(rp_handoff_backend *backend, uint64_t timeout_ns,
                                                     rp_handoff_offer **out_offer);

/* For event loops: a descriptor (borrowed, close-on-exec) that is readable when next_offer with timeout 0 has something
 * to do. Call it then until it answers ERR_TIMED_OUT, and also when the time of ..._timeout has passed. */
RP_HANDOFF_API int32_t rp_handoff_backend_get_fd(rp_handoff_backend *backend);

/* Nanoseconds until next_offer has to be called even if the descriptor is not readable, or RP_HANDOFF_FOREVER. */
RP_HANDOFF_API int32_t rp_handoff_backend_get_timeout(rp_handoff_backend *backend, uint64_t *out_timeout_ns);

/* Makes every next_offer, waiting or to come, answer ERR_CLOSED. Async-signal-safe. */
RP_HANDOFF_API int32_t rp_handoff_backend_stop(rp_handoff_backend *backend);

typedef struct rp_handoff_backend_statistics {
    uint32_t struct_size;
    uint32_t connections; /* of the moment, without those whose offer waits for an answer */
    uint32_t unanswered;  /* offers of the moment */
    uint32_t reserved;    /* 0 */
    uint64_t accepted;
    uint64_t refused;         /* by the caller, or by destroying an unanswered offer */
    uint64_t rejected_peers;  /* connections closed because of who made them */
    uint64_t rejected_tokens; /* offers refused because of their token */
    uint64_t rejected_offers; /* connections dropped: malformed, truncated, late, or not exactly one descriptor */
    uint64_t answers_undelivered;
} rp_handoff_backend_statistics;

/* Counters since create, except those of the moment. */
RP_HANDOFF_API int32_t rp_handoff_backend_get_statistics(rp_handoff_backend *backend,
                                                         rp_handoff_backend_statistics *out_statistics);

/* ------------------------------------------------------------------------------------------------- offer ---- */

enum {
    RP_HANDOFF_OFFER_READY_FOLLOWS =
        1u << 0, /* the broker will write to the connection: not before the client's first byte */
    RP_HANDOFF_OFFER_HAS_PROLOGUE = 1u << 1 /* accept writes a prologue first */
};
typedef struct rp_handoff_offer_info {
    uint32_t struct_size;
    uint32_t service_name_length;
    const char *service_name; /* UTF-8, NUL-terminated, valid until destroy; what the broker wrote: check it */
    uint64_t correlation_id;
    uint32_t peer_pid; /* of the broker, as the kernel tells it; 0: unknown */
    uint32_t peer_uid;
    uint64_t received_ns; /* instant */
    rp_handoff_token token;
    /* Of a session's offer; otherwise zero. Pointers are valid until destroy. */
    uint32_t flags; /* RP_HANDOFF_OFFER_ */
    uint32_t metadata_length;
    const uint8_t *metadata;
    const uint8_t *early; /* what the broker had read from the connection: it comes before what is read from it */
    uint32_t early_length;
    uint32_t unwritten_length; /* after accept: of the prologue, what the connection did not take: write it first */
    const uint8_t *unwritten;
} rp_handoff_offer_info;

/* Allowed until destroy, also after the answer. */
RP_HANDOFF_API int32_t rp_handoff_offer_get_info(const rp_handoff_offer *offer, rp_handoff_offer_info *out_info);

/* GIVES the connection's descriptor: consumes the token, then acknowledges. From here on the connection is this
 * process's to serve. RP_HANDOFF_ACK_UNDELIVERED (positive) says the same, but that the broker could not be told: it is
 * gone, or has given up and will not serve the connection either. Do not write to a connection of the v1 protocol
 * before its client's first byte: the broker writes its "ready" frame on the same stream. ERR_ANSWERED;
 * ERR_TOKEN_EXPIRED, ERR_TOKEN_NOT_PENDING (the time to live passed, or it was revoked, since the offer was read): the
 * offer is refused and the descriptor closed. Of a session's offer: adopts in the ledger, writes the prologue if there
 * is one, and leaves the acknowledgement to the next flush; the backend may write at once unless
 * RP_HANDOFF_OFFER_READY_FOLLOWS. ERR_REVOKED: the broker was faster, and the descriptor is closed. ERR_PROTOCOL: the
 * ledger does not say what the offer says; the session ends. */
RP_HANDOFF_API int32_t rp_handoff_offer_accept(rp_handoff_offer *offer, int32_t *out_fd);

/* Closes the descriptor, then tells the broker `text` (UTF-8, NULL for none; cut at 1024 bytes, in a session at 255,
 * and left out there while many wait to be sent): the broker owns the connection again. RP_HANDOFF_ACK_UNDELIVERED if it
 * could not be told. ERR_ANSWERED. */
RP_HANDOFF_API int32_t rp_handoff_offer_refuse(rp_handoff_offer *offer, const char *text);

/* Ends the handle; an offer without an answer is refused. Never closes a descriptor that accept gave. */
RP_HANDOFF_API void rp_handoff_offer_destroy(rp_handoff_offer *offer);

/* ----------------------------------------------------------------------------------------------- session ---- */

/*
 * A SESSION is a lasting connection between one broker and one backend that many handoffs share, with a page of shared
 * memory (the LEDGER) in which adoption and revocation race through one atomic word per handoff. That settles what the
 * v1 exchange cannot: every outcome of a session is BROKER or BACKEND, never AMBIGUOUS. When the deadline passes, the
 * backend dies or is stopped, or an answer is lost, the broker revokes the offer in the ledger; either that succeeds,
 * and no honest backend can adopt the connection any more, or the backend had adopted it before. A connection that came
 * back as BROKER may be offered to another backend at once.
 *
 *   broker                                                backend
 *   ------                                                -------
 *   rp_handoff_session_create_broker                               rp_handoff_listener_create, rp_handoff_listener_accept
 *     (dials a path, or takes a connected descriptor)     rp_handoff_session_create_backend (takes the connected descriptor)
 *   in a loop of any kind:                                in a loop of any kind:
 *     rp_handoff_session_submit      (one or many)
 *     rp_handoff_session_process                            rp_handoff_session_process
 *     rp_handoff_session_next_event  -> OUTCOME             rp_handoff_session_next_event  -> OFFER
 *                                                           rp_handoff_offer_accept -> descriptor, or ..._refuse
 *                                                           rp_handoff_offer_destroy
 *   rp_handoff_session_close, ..._destroy                 rp_handoff_session_close, ..._destroy
 *
 * Both sides know beforehand that an endpoint speaks sessions; nothing is probed. Either side may dial, and an
 * inherited socketpair does as well: the first messages of both sides are hellos, whose senders the kernel names
 * (SCM_CREDENTIALS, and SCM_PIDFD where there is one), before any descriptor moves. The ledger is a sealed memfd of the
 * session's own, so that what a hostile peer scribbles into it concerns its own session only. (A build with the option
 * ledger=shm uses shm_open(3) where there is no memfd; such a peer must be trusted, since without seals it can make
 * this process fault.)
 *
 * LOOPS. No thread is started and nothing waits inside process and next_event. Watch rp_handoff_session_get_fd for
 * rp_handoff_session_events, level-triggered (not EPOLLET), and call process when it is ready and when
 * rp_handoff_session_get_timeout has passed; then call next_event until it answers 0. That last call also sends the answers
 * of the offers that were accepted or refused in between, many in one write; an offer that is answered at another time
 * is answered at once. A submit or a close that makes the timeout shorter than it was told makes the descriptor ready,
 * so that a loop need not ask again by itself. The descriptor stays the same for the life of the session; any loop that
 * can watch a descriptor will do (poll, epoll, libuv, GLib, asyncio). A worker thread blocks in rp_handoff_session_wait
 * instead. A session holds at most five descriptors of its own: two sockets, an epoll, an eventfd and the peer's pidfd.
 *
 * BACK-PRESSURE. A broker holds at most max_in_flight handoffs of a session that the backend has not answered or whose
 * events were not taken, revoked ones included, since their descriptors lie in the backend's queue and count against
 * this user's limit (ETOOMANYREFS); and over all sessions of a broker at most a share of RLIMIT_NOFILE. A submit beyond
 * a bound says at once which: ERR_LIMIT_SESSION, ERR_LIMIT_DESCRIPTORS, ERR_LIMIT_BYTES, or ERR_LIMIT for tokens. Where
 * one stopped backend must not keep the others of a broker from their part of that share, max_in_flight of each session
 * is to be less than the share by as much as the others need: with RLIMIT_NOFILE 1024 and the defaults it is 256 of
 * 512.
 *
 * THREADS. All calls may be made from several threads at once. A thread that waits does not keep others from
 * submitting, answering or closing. With a `wait` of the caller's own, only one thread at a time may wait in a session.
 */
typedef struct rp_handoff_session rp_handoff_session;

/* The longest that may travel with one offer; the largest batch of descriptors in one message (unix(7): Linux takes 253,
 * others less); and the most handoffs of a session in flight. */
enum {
    RP_HANDOFF_METADATA_MAX = 4096,
    RP_HANDOFF_PROLOGUE_MAX = 4096,
    RP_HANDOFF_EARLY_BYTES_MAX = 65536,
    RP_HANDOFF_BATCH_MAX = 252,
    RP_HANDOFF_IN_FLIGHT_MAX = 4096
};

/* Whom a session may be with: by default a process with this one's effective user id, by what the kernel says of the
 * sender of its first messages and, for a path that is dialled, of the process that listens there. */
enum {
    RP_HANDOFF_PEER_REQUIRE_PIDFD = 1u << 2 /* sessions: reject a peer for whom the kernel gives no pidfd (Linux 6.5) */
};

typedef struct rp_handoff_session_options {
    uint32_t struct_size;
    uint32_t peer_flags; /* RP_HANDOFF_PEER_ANY_UID, RP_HANDOFF_PEER_REQUIRE_PIDFD */
    const uint32_t *peer_uids;
    uint32_t peer_uid_count; /* at most 64; 0: this process's effective user id */
    uint32_t peer_pid;       /* the peer must be this process; 0: any */
    const char *socket_path; /* to dial; NULL: connection_fd */
    int32_t connection_fd;   /* TAKEN ON SUCCESS, and made blocking and close-on-exec: a connected Unix stream socket of
                                  which nobody else holds a duplicate; read if socket_path is NULL */
    uint32_t max_in_flight;  /* default 256, at most RP_HANDOFF_IN_FLIGHT_MAX; the smaller one of both sides counts */
    const char
        *service_name; /* broker: told to the backend, which finds it in the info of each offer; UTF-8, at most 255
                                  bytes; may be NULL */
    uint64_t open_timeout_ns;  /* for dialling and the hellos together, and for the peer's part of close; default 5 s */
    uint32_t max_queued_bytes; /* broker: metadata, early bytes and prologues not sent yet; default 1 MiB */
    uint32_t reserved;         /* 0 */
    rp_handoff_now_fn now;     /* backend: now and wait, both or none; a broker's session has its broker's */
    rp_handoff_wait_fn wait;
    void *time_user_data;
} rp_handoff_session_options;

/* Begins a session as the broker, without waiting: dials the path or TAKES ON SUCCESS the descriptor. Submits are
 * accepted at once and sent when the hellos are through, which the event OPENED tells; if it does not come to that,
 * the event CLOSED. Uses `broker` for tokens, time, bounds and counters, but neither its peer settings (those of these
 * options count) nor its policy; it has to be destroyed later than this.
 * ERR_UNAVAILABLE (nobody listens there), ERR_CLOSED (who was connected has gone), ERR_PEER_REJECTED, ERR_PATH_INVALID,
 * ERR_INVALID_ARGUMENT, ERR_UNSUPPORTED, ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_session_create_broker(rp_handoff_broker *broker,
                                                        const rp_handoff_session_options *options,
                                                        rp_handoff_session **out_session);

/* The same as the backend. */
RP_HANDOFF_API int32_t rp_handoff_session_create_backend(const rp_handoff_session_options *options,
                                                         rp_handoff_session **out_session);

/* Ends it at once. Broker: every handoff that has no outcome yet is settled in the ledger first; a connection that is
 * the broker's then, or whose event was not taken, is ended with shutdown(2) and close(2), one that is the backend's
 * with close(2) alone, and duplicates (RP_HANDOFF_SUBMIT_DUPLICATE) with close(2) alone. Backend: offers that were not
 * taken are refused; offers that were taken stay valid until they are destroyed, and accept and refuse still settle
 * them in the ledger. In a forked child it touches neither ledger nor socket, and closes the child's copies. */
RP_HANDOFF_API void rp_handoff_session_destroy(rp_handoff_session *session);

/* Begins an orderly end, without waiting: no further submits; what is in flight runs to its outcome; then both sides
 * close, and the event CLOSED with status RP_HANDOFF_OK comes last. The backend may call it too: then the broker's
 * submits are ERR_CLOSED, and what it had not sent yet comes back as BROKER. A peer that does not do its part within
 * open_timeout_ns after this side did makes it ERR_TIMED_OUT. */
RP_HANDOFF_API int32_t rp_handoff_session_close(rp_handoff_session *session);

/* A descriptor (borrowed, close-on-exec) to watch, the poll(2) events to watch it for (POLLIN, always), and the
 * nanoseconds until process has to be called even if it is not ready, or RP_HANDOFF_FOREVER. fd: ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_session_get_fd(rp_handoff_session *session);
RP_HANDOFF_API int32_t rp_handoff_session_events(rp_handoff_session *session);
RP_HANDOFF_API int32_t rp_handoff_session_get_timeout(rp_handoff_session *session, uint64_t *out_timeout_ns);

/* Does what can be done without waiting: receives, sends what is queued, ends what is due. ERR_NO_MEMORY; an end of the
 * session is no error but the event CLOSED, whose status tells why. */
RP_HANDOFF_API int32_t rp_handoff_session_process(rp_handoff_session *session);

/* As process, but waits at most `timeout_ns` for an event: 1 if there is one, 0 if the time passed or the session is over
 * and its last event was taken. Sends accumulated answers before it waits. */
RP_HANDOFF_API int32_t rp_handoff_session_wait(rp_handoff_session *session, uint64_t timeout_ns);

enum {
    RP_HANDOFF_EVENT_OPENED = 1,  /* the hellos are through: see rp_handoff_session_get_peer */
    RP_HANDOFF_EVENT_OUTCOME = 2, /* broker: of one handoff; exactly one for each that was submitted */
    RP_HANDOFF_EVENT_OFFER = 3,   /* backend */
    RP_HANDOFF_EVENT_CLOSING = 4, /* broker: the backend wants no more offers (its close); what is in flight goes on */
    RP_HANDOFF_EVENT_CLOSED = 5   /* the last event of a session; `status` tells why */
};
typedef struct rp_handoff_event {
    uint32_t struct_size;
    int32_t kind;      /* RP_HANDOFF_EVENT_ */
    int32_t status;    /* CLOSED: RP_HANDOFF_OK after an orderly end, or an RP_HANDOFF_ERR_ */
    int32_t ownership; /* OUTCOME: RP_HANDOFF_OWNER_BROKER or RP_HANDOFF_OWNER_BACKEND */
    int32_t fd;        /* OUTCOME, BROKER: given back; -1 otherwise, and if the submit duplicated it */
    uint32_t reserved;
    uint64_t id;             /* OUTCOME: of the handoff, as submit gave it */
    uint64_t user_data;      /* OUTCOME: of the submission */
    rp_handoff_offer *offer; /* OFFER: given; end it with rp_handoff_offer_destroy */
} rp_handoff_event;

/* Gives the next event: 1, or 0 if there is none; then the answers that accumulated are sent. `out_outcome` may be NULL; it
 * is filled in with the event OUTCOME. One event of an OUTCOME gives one descriptor back: take them all. */
RP_HANDOFF_API int32_t rp_handoff_session_next_event(rp_handoff_session *session, rp_handoff_event *out_event,
                                                     rp_handoff_outcome *out_outcome);

/* Sends accumulated answers, for who wants them to leave before next_event answers 0. */
RP_HANDOFF_API int32_t rp_handoff_session_flush(rp_handoff_session *session);

enum {
    RP_HANDOFF_SUBMIT_DUPLICATE = 1u << 0, /* work on a dup(2) of fd: yours stays yours, to close in any case, and to
                                                 use only after an OUTCOME that says BROKER */
    RP_HANDOFF_SUBMIT_TOKEN = 1u << 1,     /* `token` is one of rp_handoff_broker_issue; otherwise submit issues one */
    RP_HANDOFF_SUBMIT_READY_FOLLOWS = 1u << 2 /* tells the backend that the broker will write to the connection once it
                                                 is adopted (a v1 ready frame): not to write before the client's first
                                                 byte */
};
typedef struct rp_handoff_submission {
    uint32_t struct_size;
    int32_t fd;     /* TAKEN ON SUCCESS: the client connection, any descriptor that sendmsg(2) can pass */
    uint32_t flags; /* RP_HANDOFF_SUBMIT_ */
    uint32_t metadata_length;
    const uint8_t *metadata;  /* opaque, for the backend: peer address, server name; at most RP_HANDOFF_METADATA_MAX */
    const uint8_t *early;     /* bytes that the broker has read from the connection already */
    uint32_t early_length;    /* at most RP_HANDOFF_EARLY_BYTES_MAX */
    uint32_t prologue_length; /* at most RP_HANDOFF_PROLOGUE_MAX */
    const uint8_t *prologue;  /* what the backend's accept writes first on the connection (sockets only) */
    uint64_t timeout_ns;      /* from this call to the outcome; default and upper limit: the broker's ack_deadline_ns */
    uint64_t correlation_id;  /* 0: the broker's next */
    uint64_t user_data;       /* comes back in the event */
    rp_handoff_token token;
} rp_handoff_submission;

/* Submits `count` handoffs that are `stride` bytes apart, from the first on: the number that were submitted, 1 to
 * count, or an error of the first one and nothing happened. Fewer than count: call again from there to learn why. What
 * can be sent is sent at once, up to RP_HANDOFF_BATCH_MAX descriptors in one sendmsg(2). Each gets an id that is unique
 * in the session (`out_ids` may be NULL), and exactly one OUTCOME event. Remove a descriptor from your epoll set
 * before. ERR_LIMIT_SESSION, ERR_LIMIT_DESCRIPTORS, ERR_LIMIT_BYTES, ERR_LIMIT, ERR_CLOSED, ERR_TOKEN_NOT_PENDING,
 * ERR_TOKEN_EXPIRED, ERR_TOKEN_IN_USE, ERR_RANDOM, ERR_INVALID_ARGUMENT, ERR_NO_MEMORY, ERR_SYSTEM (dup(2)). */
RP_HANDOFF_API int32_t rp_handoff_session_submit(rp_handoff_session *session, const rp_handoff_submission *items,
                                                 size_t stride, uint32_t count, uint64_t *out_ids);

/* Settles a handoff now: 1, and its OUTCOME event says whose the connection is; 0 if it has its outcome already. */
RP_HANDOFF_API int32_t rp_handoff_session_cancel(rp_handoff_session *session, uint64_t id);

/* BORROWS submission->fd and hands it over, blocking until the outcome, at most until its deadline; waits for the
 * hellos too. The same engine without an event. RP_HANDOFF_SUBMIT_DUPLICATE and user_data are not looked at. Errors as
 * of submit. */
RP_HANDOFF_API int32_t rp_handoff_session_execute(rp_handoff_session *session, const rp_handoff_submission *submission,
                                                  rp_handoff_outcome *out_outcome);

/* Who the peer is. pidfd: whether this session holds a pidfd of the peer (pidfd_open(2)), which a reused pid cannot
 * mislead, or why not: the kernel has no such thing, it gave none, or the process was gone already. */
enum {
    RP_HANDOFF_PIDFD_HELD = 1,
    RP_HANDOFF_PIDFD_UNSUPPORTED = 2,
    RP_HANDOFF_PIDFD_UNAVAILABLE = 3,
    RP_HANDOFF_PIDFD_REAPED = 4
};
typedef struct rp_handoff_session_peer {
    uint32_t struct_size;
    uint32_t pid;
    uint32_t uid;
    uint32_t gid;
    int32_t pidfd_state;    /* RP_HANDOFF_PIDFD_ */
    int32_t pidfd;          /* borrowed, valid until destroy; -1 unless HELD */
    uint32_t max_in_flight; /* what both sides agreed on */
    uint32_t service_name_length;
    const char *service_name; /* backend: what the broker calls the service; valid until destroy */
} rp_handoff_session_peer;

/* After the event OPENED; before it ERR_UNAVAILABLE. */
RP_HANDOFF_API int32_t rp_handoff_session_get_peer(rp_handoff_session *session, rp_handoff_session_peer *out_peer);

/* Counters since open, except those of the moment. */
typedef struct rp_handoff_session_statistics {
    uint32_t struct_size;
    uint32_t
        in_flight; /* of the moment: broker: submitted and not answered, or without event taken; backend: not answered */
    uint64_t submitted;         /* broker */
    uint64_t completed;         /* broker: outcomes that say BACKEND */
    uint64_t fallbacks;         /* broker: outcomes that say BROKER */
    uint64_t offers;            /* backend: received */
    uint64_t accepted;          /* backend */
    uint64_t refused;           /* backend */
    uint64_t lost;              /* backend: found revoked */
    uint64_t messages_sent;     /* sendmsg(2) calls that moved bytes */
    uint64_t messages_received; /* recvmsg(2) calls that moved bytes */
} rp_handoff_session_statistics;

/* Never waits. */
RP_HANDOFF_API int32_t rp_handoff_session_get_statistics(rp_handoff_session *session,
                                                         rp_handoff_session_statistics *out_statistics);

/* A listening Unix stream socket under the rules of rp_handoff_backend_listen, for either side of a session. */
typedef struct rp_handoff_listener rp_handoff_listener;

/* ERR_PATH_INVALID, ERR_PATH_UNSAFE, ERR_PATH_IN_USE, ERR_PATH_FOREIGN, ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_listener_create(const char *path, rp_handoff_listener **out_listener);

/* Closes it and removes its name, in a forked child closes its copy only. */
RP_HANDOFF_API void rp_handoff_listener_destroy(rp_handoff_listener *listener);

/* Borrowed, close-on-exec: readable when accept with timeout 0 has something to do. */
RP_HANDOFF_API int32_t rp_handoff_listener_get_fd(rp_handoff_listener *listener);

/* GIVES the next connection (close-on-exec), for rp_handoff_session_create_backend or ..._open, after at most `timeout_ns`, in real
 * time. ERR_TIMED_OUT, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_listener_accept(rp_handoff_listener *listener, uint64_t timeout_ns, int32_t *out_fd);

/* --------------------------------------------------------------------------------------------------- wire ---- */

/*
 * The frozen v1 envelope, for callers who move the bytes themselves: on the wire a frame is one byte 1, the length of
 * the body as four bytes little-endian, and the body, a protobuf message Frame. Bytes and text are pointer and length;
 * in decoded structs they point into the buffer that was decoded. Integers that a peer may send beyond the names below
 * are given as they are. NULL is taken as empty where the length is 0.
 */
enum { RP_HANDOFF_FRAME_HEADER_SIZE = 5, RP_HANDOFF_FRAME_BODY_MAX = 16777216, RP_HANDOFF_PROTOCOL_HANDOFF = 0xD0FF };
enum {
    RP_HANDOFF_KIND_REQUEST = 0,
    RP_HANDOFF_KIND_RESPONSE = 1,
    RP_HANDOFF_KIND_EVENT = 2,
    RP_HANDOFF_KIND_CANCEL = 3
};
enum {
    RP_HANDOFF_ENCODING_NONE = 0,
    RP_HANDOFF_ENCODING_ZSTD = 1,
    RP_HANDOFF_ENCODING_SNAPPY = 2,
    RP_HANDOFF_ENCODING_LZ4 = 3
};

typedef struct rp_handoff_wire_frame {
    uint32_t struct_size;
    uint32_t envelope_version; /* 1 */
    int32_t kind;              /* RP_HANDOFF_KIND_ */
    uint32_t payload_protocol;
    const uint8_t *payload;
    size_t payload_length;
    uint64_t request_id;
    int32_t payload_encoding; /* RP_HANDOFF_ENCODING_ */
    uint32_t reserved;        /* 0 */
    uint64_t deadline_unix_ms;
    const char *traceparent;
    size_t traceparent_length;
    const char *tracestate;
    size_t tracestate_length;
} rp_handoff_wire_frame;

typedef struct rp_handoff_wire_offer {
    uint32_t struct_size;
    uint32_t reserved;     /* 0 */
    uint64_t handle_value; /* 0 where descriptors travel beside the bytes */
    const uint8_t *token;
    size_t token_length;
    const char *service_name;
    size_t service_name_length;
    uint64_t correlation_id;
} rp_handoff_wire_offer;

typedef struct rp_handoff_wire_ack {
    uint32_t struct_size;
    int32_t accepted; /* 0 or 1 */
    const uint8_t *token;
    size_t token_length;
    const char *error_detail;
    size_t error_detail_length;
    uint64_t correlation_id;
} rp_handoff_wire_ack;

/* Each writes header and body to `out` and the number of bytes to *out_length. With `out` NULL (and capacity 0) only
 * the length is given. ERR_BUFFER_TOO_SMALL, ERR_INVALID_ARGUMENT (text is not UTF-8), ERR_FRAME_TOO_LARGE. */
RP_HANDOFF_API int32_t rp_handoff_wire_encode_frame(const rp_handoff_wire_frame *frame, uint8_t *out, size_t capacity,
                                                    size_t *out_length);
RP_HANDOFF_API int32_t rp_handoff_wire_encode_offer(const rp_handoff_wire_offer *offer, uint8_t *out, size_t capacity,
                                                    size_t *out_length);
/* `kind`: RP_HANDOFF_KIND_RESPONSE for the backend's answer, RP_HANDOFF_KIND_EVENT for the client's ready frame. */
RP_HANDOFF_API int32_t rp_handoff_wire_encode_ack(const rp_handoff_wire_ack *ack, int32_t kind, uint8_t *out,
                                                  size_t capacity, size_t *out_length);

/* Each decodes one frame from the start of `data`; *out_consumed tells its whole length, and what follows is not looked
 * at. ERR_FRAME_INCOMPLETE (more bytes are needed), ERR_FRAME_VERSION, ERR_FRAME_TOO_LARGE (body over 16 MiB, said as
 * soon as the header is there), ERR_FRAME_MALFORMED; the last two calls also validate the envelope: version 1, the
 * kind, the handoff protocol, no compression, the frame's request id equal to the payload's correlation id, or
 * ERR_FRAME_UNEXPECTED. */
RP_HANDOFF_API int32_t rp_handoff_wire_decode_frame(const uint8_t *data, size_t length,
                                                    rp_handoff_wire_frame *out_frame, size_t *out_consumed);
RP_HANDOFF_API int32_t rp_handoff_wire_decode_offer(const uint8_t *data, size_t length,
                                                    rp_handoff_wire_offer *out_offer, size_t *out_consumed);
RP_HANDOFF_API int32_t rp_handoff_wire_decode_ack(const uint8_t *data, size_t length, int32_t kind,
                                                  rp_handoff_wire_ack *out_ack, size_t *out_consumed);

/* The first contact, for front doors of your own. */
enum { RP_HANDOFF_PROTOCOL_CONTROL = 0, RP_HANDOFF_CAPABILITY_HANDLE_PASSING = 1 };

/* Text or bytes by pointer and length. */
typedef struct rp_handoff_wire_text {
    const char *data;
    size_t length;
} rp_handoff_wire_text;

typedef struct rp_handoff_wire_hello {
    uint32_t struct_size;
    uint32_t client_min_protocol;
    uint32_t client_max_protocol;
    uint32_t peer_pid; /* as claimed */
    rp_handoff_wire_text service_name;
    rp_handoff_wire_text wanted_version;
    rp_handoff_wire_text client_version;
    uint64_t client_capabilities;
    rp_handoff_wire_text auth_token; /* bytes */
    rp_handoff_wire_text request_id;
    uint64_t connection_id;
    rp_handoff_wire_text client_lib_name;
    rp_handoff_wire_text client_lib_version;
    rp_handoff_wire_text peer_attestation_nonce; /* bytes */
    rp_handoff_wire_text capability_token;       /* bytes */
    uint64_t client_keepalive_secs;
} rp_handoff_wire_hello;

/* A key and its value. */
typedef struct rp_handoff_wire_detail {
    rp_handoff_wire_text key;
    rp_handoff_wire_text value;
} rp_handoff_wire_detail;

/* The answer to a Hello is one of the two. */
enum { RP_HANDOFF_REPLY_NEGOTIATED = 1, RP_HANDOFF_REPLY_REFUSED = 2 };
typedef struct rp_handoff_wire_reply {
    uint32_t struct_size;
    int32_t choice; /* RP_HANDOFF_REPLY_; of a decoded reply 0 if it has neither */
    /* NEGOTIATED */
    rp_handoff_wire_text daemon_version;
    rp_handoff_wire_text backend_pipe;
    uint64_t server_capabilities;
    uint64_t keepalive_interval_secs;
    rp_handoff_wire_text handle_passed_token; /* bytes */
    uint64_t connection_id;
    uint32_t negotiated_protocol;
    /* REFUSED */
    int32_t code; /* RP_HANDOFF_REFUSED_ */
    rp_handoff_wire_text reason;
    uint32_t daemon_min_protocol;
    uint32_t daemon_max_protocol;
    uint64_t retry_after_ms;
    /* Lists: in arrays of the caller's. To encode, counts tell their length. To decode, capacities tell the arrays'
     * size, counts are set to what the reply has, and what does not fit is left out. */
    rp_handoff_wire_text *warnings; /* NEGOTIATED */
    size_t warning_capacity;
    size_t warning_count;
    rp_handoff_wire_detail *details; /* REFUSED; by rising key when decoded */
    size_t detail_capacity;
    size_t detail_count;
} rp_handoff_wire_reply;

/* As above, in frames of RP_HANDOFF_PROTOCOL_CONTROL: Hello is a REQUEST, the reply a RESPONSE with the Hello's
 * request id. Also ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_wire_encode_hello(const rp_handoff_wire_hello *hello, uint64_t frame_request_id,
                                                    uint8_t *out, size_t capacity, size_t *out_length);
RP_HANDOFF_API int32_t rp_handoff_wire_encode_reply(const rp_handoff_wire_reply *reply, uint64_t frame_request_id,
                                                    uint8_t *out, size_t capacity, size_t *out_length);
RP_HANDOFF_API int32_t rp_handoff_wire_decode_hello(const uint8_t *data, size_t length,
                                                    rp_handoff_wire_hello *out_hello, uint64_t *out_frame_request_id,
                                                    size_t *out_consumed);
/* `inout_reply` brings its arrays. */
RP_HANDOFF_API int32_t rp_handoff_wire_decode_reply(const uint8_t *data, size_t length,
                                                    rp_handoff_wire_reply *inout_reply, uint64_t *out_frame_request_id,
                                                    size_t *out_consumed);

/* BORROWS both. One sendmsg(2) that never waits: `fd` rides on the first of the `length` bytes (at least 1). Gives the
 * number of bytes that left; after a short count the descriptor has left too: finish the bytes without it.
 * ERR_SYSTEM: nothing left. ERR_UNSUPPORTED. */
RP_HANDOFF_API int32_t rp_handoff_wire_send(int32_t connection_fd, int32_t fd, const uint8_t *data, size_t length,
                                            size_t *out_sent);

/* BORROWS the connection and GIVES the descriptor that came with exactly `length` bytes (at least 1), waiting at most
 * `timeout_ns` for all of them. Surplus descriptors are closed, and on every failure all of them are. ERR_CLOSED
 * (nothing came), ERR_UNEXPECTED_EOF, ERR_TIMED_OUT, ERR_DESCRIPTORS (none, several, or the kernel had to drop some:
 * out of descriptors), ERR_SYSTEM, ERR_UNSUPPORTED. Bytes received before a failure are lost: close the connection. */
RP_HANDOFF_API int32_t rp_handoff_wire_receive(int32_t connection_fd, uint8_t *data, size_t length, uint64_t timeout_ns,
                                               int32_t *out_fd);

/* ------------------------------------------------------------------------------------------------- queue ---- */

/* A bounded first-in-first-out queue for connections that wait for a backend; who waited too long is dropped. */
typedef struct rp_handoff_queue rp_handoff_queue;

typedef struct rp_handoff_queue_options {
    uint32_t struct_size;
    uint32_t capacity;     /* default 64, at most 1048576 */
    uint64_t ttl_ns;       /* default 100 ms */
    rp_handoff_now_fn now; /* NULL: CLOCK_MONOTONIC */
    void *time_user_data;
} rp_handoff_queue_options;

/* `options` may be NULL: all defaults. ERR_INVALID_ARGUMENT, ERR_UNSUPPORTED, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_queue_create(const rp_handoff_queue_options *options, rp_handoff_queue **out_queue);

/* Closes the descriptors that are still in it, as expire does. */
RP_HANDOFF_API void rp_handoff_queue_destroy(rp_handoff_queue *queue);

/* TAKES ON SUCCESS the descriptor. Expired entries are dropped first, as by expire. ERR_LIMIT: full; that is a fallback
 * with RP_HANDOFF_REASON_FD_PRESSURE_DISABLED. ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_queue_enqueue(rp_handoff_queue *queue, int32_t fd, uint64_t user_data);

/* GIVES the descriptor that waited longest: 1, or 0 if there is none. */
RP_HANDOFF_API int32_t rp_handoff_queue_dequeue(rp_handoff_queue *queue, int32_t *out_fd, uint64_t *out_user_data);

/* Drops what expired: how many. By close(2) alone: a connection that was offered before may live on in a stopped
 * backend's queue, and then its client sees no end. Dequeue such ones in time, to shutdown(2) them. */
RP_HANDOFF_API int32_t rp_handoff_queue_expire(rp_handoff_queue *queue, uint32_t *out_expired);

/* The number of entries held, expired ones that were not dropped yet included. */
RP_HANDOFF_API int32_t rp_handoff_queue_get_length(rp_handoff_queue *queue, uint32_t *out_length);

/* -------------------------------------------------------------------------------------------- front door ---- */

/*
 * The v1 protocol's first contact: a client of a local stream socket says Hello, the broker answers where its service
 * is, and where client, service and policy allow hands the connection over; the client is told "ready" once the
 * backend has acknowledged, and never otherwise. A client to which nothing is handed reconnects by itself.
 */
typedef struct rp_handoff_front_door rp_handoff_front_door;

typedef struct rp_handoff_front_door_options {
    uint32_t struct_size;
    uint32_t max_hello_bytes;   /* default 65536, at most 65536 */
    uint64_t hello_timeout_ns;  /* for reading the Hello and writing the reply together, and again for writing the ready
                                      frame; default 30 s, or RUNNING_PROCESS_BROKER_HELLO_TIMEOUT_MS of the environment */
    uint32_t max_hellos;        /* of one client process, in a window; default 1000 */
    uint32_t reserved;          /* 0 */
    uint64_t hello_window_ns;   /* default 1 s */
    uint64_t pressure_retry_ns; /* told to clients that are refused for descriptor pressure; default 1 s */
} rp_handoff_front_door_options;

/* Uses `broker`, which has to be destroyed later than this. */
RP_HANDOFF_API int32_t rp_handoff_front_door_create(rp_handoff_broker *broker,
                                                    const rp_handoff_front_door_options *options,
                                                    rp_handoff_front_door **out_front_door);
RP_HANDOFF_API void rp_handoff_front_door_destroy(rp_handoff_front_door *front_door);

/* Texts are copied; those marked may be NULL. */
typedef struct rp_handoff_front_door_service {
    uint32_t struct_size;
    uint32_t client_peer_flags;          /* RP_HANDOFF_PEER_ANY_UID */
    const char *name;                    /* UTF-8, at most 255 bytes */
    const char *version;                 /* of the daemon, told to clients; may be NULL */
    const char *backend_endpoint;        /* where clients reconnect to, always told; at most 1023 bytes */
    const char *handoff_endpoint;        /* where the backend takes offers: a socket path; NULL: no handoffs */
    const char *const *allowed_versions; /* that clients may want */
    uint32_t allowed_version_count;      /* at most 64; 0: any */
    uint32_t client_uid_count;           /* at most 64; 0: this process's effective user id */
    const uint32_t *client_uids;
    int32_t handoff_disabled; /* 1: clients reconnect */
    int32_t adopted_backend;  /* 1: inherited from an earlier broker; clients reconnect */
    uint64_t capabilities;    /* told to clients; bit 0 is the library's */
    uint64_t keepalive_secs;  /* told to clients */
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

/* Adds a service, or replaces the one of that name for the visits to come. */
RP_HANDOFF_API int32_t rp_handoff_front_door_put_service(rp_handoff_front_door *front_door,
                                                         const rp_handoff_front_door_service *service);
/* 1 if there was such a service, 0 if not. */
RP_HANDOFF_API int32_t rp_handoff_front_door_remove_service(rp_handoff_front_door *front_door, const char *name);

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
typedef struct rp_handoff_front_door_visit {
    uint32_t struct_size;
    int32_t result;          /* RP_HANDOFF_FRONT_DOOR_ */
    int32_t status;          /* DROPPED: RP_HANDOFF_ERR_ */
    int32_t code;            /* REFUSED: RP_HANDOFF_REFUSED_ */
    uint64_t connection_id;  /* unique per broker; also the correlation id of the offer */
    int32_t attempted;       /* 1: there is an outcome */
    int32_t ready_delivered; /* HANDED_OFF: 1 if the client could be told */
    char detail[256];
} rp_handoff_front_door_visit;

/* BORROWS a client's connection and serves this visit, blocking. Afterwards, whatever the result, close(2) it, with
 * shutdown(2) before only if the outcome says RP_HANDOFF_OWNER_BROKER or there is none: the client that reconnects is
 * waiting for that. `out_outcome` may be NULL; it is written only if there was an attempt. */
RP_HANDOFF_API int32_t rp_handoff_front_door_serve(rp_handoff_front_door *front_door, int32_t client_fd,
                                                   rp_handoff_front_door_visit *out_visit,
                                                   rp_handoff_outcome *out_outcome);

/* ------------------------------------------------------------------------------------------------ client ---- */

typedef struct rp_handoff_client_request {
    uint32_t struct_size;
    int32_t adopt; /* 1: keep the connection if it is handed over; the broker is told so */
    const char *broker_path;
    const char *service_name;   /* UTF-8, at most 255 bytes */
    const char *wanted_version; /* this and the next: at most 255 bytes; may be NULL */
    const char *own_version;
    const char
        *cached_endpoint; /* where the service was last time: tried first if both versions are equal; may be NULL */
    uint64_t ready_timeout_ns; /* for the ready frame; default 2 s */
    uint64_t timeout_ns;       /* for everything together; default 30 s, or RUNNING_PROCESS_BROKER_CLIENT_TIMEOUT_MS of
                                    the environment */
    uint64_t keepalive_secs;   /* told to the broker */
    uint32_t peer_flags;       /* of broker and backend: RP_HANDOFF_PEER_ANY_UID */
    uint32_t peer_uid_count;   /* at most 64; 0: this process's effective user id */
    const uint32_t *peer_uids;
    rp_handoff_now_fn now; /* now and wait: both or none */
    rp_handoff_wait_fn wait;
    void *time_user_data;
} rp_handoff_client_request;

enum {
    RP_HANDOFF_ROUTE_HELLO_SKIP = 1,        /* the cached endpoint was there */
    RP_HANDOFF_ROUTE_BROKER_NEGOTIATED = 2, /* reconnected to the endpoint that the broker named */
    RP_HANDOFF_ROUTE_HANDLE_PASSED = 3,     /* the connection to the broker, which the backend has adopted */
    RP_HANDOFF_ROUTE_REFUSED = 4            /* no connection: refusal_code and reason tell why */
};
typedef struct rp_handoff_client_connection {
    uint32_t struct_size;
    int32_t fd;    /* given: yours to close; -1 if refused */
    int32_t route; /* RP_HANDOFF_ROUTE_ */
    int32_t refusal_code;
    uint64_t retry_after_ms;
    uint64_t connection_id;
    uint64_t capabilities;
    uint64_t keepalive_secs;
    int32_t has_token; /* 1: the broker gave one, whatever the route */
    rp_handoff_token token;
    uint32_t reserved;
    char endpoint[1024];      /* of the backend, to be cached; whatever the route, but empty if refused */
    char daemon_version[256]; /* this and the next: cut to fit */
    char reason[256];
} rp_handoff_client_connection;

/* GIVES a connection to a service by whichever route works, blocking at most until the deadline; no thread, and no
 * other socket is left. The broker's end without a reply is tried once more. ERR_TIMED_OUT, ERR_UNAVAILABLE,
 * ERR_PEER_REJECTED, ERR_PATH_INVALID (the broker's path, or the endpoint that it named), ERR_CLOSED and the
 * ERR_FRAME_ ones (of the broker's answer), ERR_UNEXPECTED_EOF, ERR_SYSTEM. From here on it is a plain stream on which
 * the client speaks first: a backend that was handed the connection waits for the first byte. */
RP_HANDOFF_API int32_t rp_handoff_client_connect(const rp_handoff_client_request *request,
                                                 rp_handoff_client_connection *out_connection);

/* ----------------------------------------------------------------------------------------------- latency ---- */

/* Does a handoff beat the reconnect that it replaces? Percentiles are by nearest rank: of n sorted samples the one with
 * number ceil(n * p / 100), counted from one. */
typedef int32_t (*rp_handoff_sample_fn)(void *user_data, uint64_t *out_elapsed_ns);

/* Calls `sample` warmup + count times and keeps the last `count` results, in order. Ends with ERR_INVALID_ARGUMENT at
 * the first call that does not succeed. */
RP_HANDOFF_API int32_t rp_handoff_latency_collect(uint32_t warmup, uint32_t count, rp_handoff_sample_fn sample,
                                                  void *user_data, uint64_t *out_samples_ns);

/* What the samples of one kind amount to. */
typedef struct rp_handoff_latency_summary {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t count;
    uint64_t p50_ns;
    uint64_t p99_ns;
} rp_handoff_latency_summary;

/* 1, or 0 if there are no samples. ERR_NO_MEMORY (a copy is sorted). */
RP_HANDOFF_API int32_t rp_handoff_latency_summarize(const uint64_t *samples_ns, size_t count,
                                                    rp_handoff_latency_summary *out_summary);

/* Both kinds side by side; what a handoff saves is the fallback's less its own. */
typedef struct rp_handoff_latency_comparison {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t handoff_p50_ns;
    uint64_t handoff_p99_ns;
    uint64_t fallback_p50_ns;
    uint64_t fallback_p99_ns;
    uint64_t p50_savings_ns;
    uint64_t p99_savings_ns;
} rp_handoff_latency_comparison;

/* Success only if the handoff is strictly faster at both percentiles. ERR_EMPTY_HANDOFF, ERR_EMPTY_FALLBACK,
 * ERR_P50_NOT_FASTER, ERR_P99_NOT_FASTER: the first that applies. ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_latency_compare(const uint64_t *handoff_ns, size_t handoff_count,
                                                  const uint64_t *fallback_ns, size_t fallback_count,
                                                  rp_handoff_latency_comparison *out_comparison);

#ifdef __cplusplus
}
#endif

#endif
