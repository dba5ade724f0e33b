/*
 * rp_handoff.h - hand a live connection from one process to another.
 *
 * A BROKER accepts a client's connection, decides which BACKEND should serve it, and hands the live connection over
 * a Unix socket: one sendmsg(2) carries the descriptor (SCM_RIGHTS), a 128-bit one-time token and a framed offer; the
 * backend acknowledges before a deadline. When anything goes wrong the handoff is abandoned and its token revoked: a
 * FALLBACK, which is an outcome, never an error. The connection is the broker's again then, to be served or offered to
 * another; or (in the v1 exchange only) nobody can know, and the client sees its end and reconnects.
 *
 * The headers are the manual. This one has what everybody needs: errors, tokens, the broker, sessions, listeners and
 * offers. It includes rp_handoff_v1.h, which has the v1 exchange and everything around it. Both need a C99 or C++11
 * compiler; another language needs nothing but dlopen(3).
 *
 * LIFECYCLE
 *
 *   broker                                            backend
 *   ------                                            -------
 *   rp_handoff_broker_create                          rp_handoff_listener_create, rp_handoff_listener_accept
 *   rp_handoff_session_create_broker                  rp_handoff_session_create_backend
 *     for each client connection:                     repeat:
 *       rp_handoff_session_execute -> outcome           rp_handoff_session_wait, rp_handoff_session_next_event -> offer
 *       close(2) the connection, or serve it            rp_handoff_offer_accept -> descriptor, or ..._refuse
 *   rp_handoff_session_destroy                          rp_handoff_offer_destroy
 *   rp_handoff_broker_destroy                         rp_handoff_session_destroy, rp_handoff_listener_destroy
 *
 *   A session is a lasting connection that many handoffs share; any event loop can drive it (see "session"). Peers that
 *   speak only the v1 wire get one connection for each handoff: see rp_handoff_v1.h.
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
 *   changes it for the other side too. A backend sets the mode that it wants on what it adopts, for a broker's runtime
 *   may have made the connection non-blocking. epoll(7) goes on reporting a description for as long as any duplicate is
 *   open: remove the descriptor from your epoll set before you hand it over. Descriptor 0 in a struct is refused, since
 *   it stands there when the member was forgotten; a flag of the struct allows it, or dup(2) gives it another number.
 *
 * MEMORY
 *
 *   Handles are opaque. X_create gives one, X_destroy ends it and accepts NULL. Using a handle after its destroy is
 *   undefined. Text and bytes that a call is given are copied before it returns; text that it gives out belongs to the
 *   handle or is static, as stated. On memory exhaustion calls return RP_HANDOFF_ERR_NO_MEMORY and change nothing,
 *   except that next_offer drops the connection whose offer it could not remember.
 *
 * ERRORS
 *
 *   A call that can fail returns int32_t: 0 or positive is success, a negative RP_HANDOFF_ERR_ value is not. Out
 *   parameters come last and are untouched on failure. Calls that take a struct of settings also take an
 *   rp_handoff_error, which may be NULL; on failure they write into it which member is at fault and what to do. (If its own
 *   struct_size is wrong, a call does nothing and answers RP_HANDOFF_ERR_STRUCT_SIZE.) Of a call without one,
 *   RP_HANDOFF_ERR_SYSTEM leaves the cause in errno. Each call names its errors; these are common to all:
 *     RP_HANDOFF_ERR_INVALID_ARGUMENT  a parameter is NULL that must not be
 *     RP_HANDOFF_ERR_STRUCT_SIZE       a struct_size is not one that any version of that struct has
 *     RP_HANDOFF_ERR_WRONG_HANDLE      a live handle of another kind
 *     RP_HANDOFF_ERR_FORKED            the handle was inherited by fork(2)
 *     RP_HANDOFF_ERR_NO_MEMORY         out of memory
 *     RP_HANDOFF_ERR_INTERNAL          a defect of this library
 *   The library writes nothing to standard output or standard error, raises no signal (MSG_NOSIGNAL), never aborts on
 *   bad input, lets no C++ exception out, starts no thread and keeps no global state but the mark of the process (see
 *   FORK).
 *
 * STRUCTS
 *
 *   Structs begin with struct_size. In C, begin with the struct's RP_HANDOFF_..._INIT and set what you care about. (These
 *   macros have designated initializers, which C++ knows from C++20 on, and g++ -Wextra warns of there.) In other languages
 *   set struct_size to the size of the struct as you compiled it, descriptors that you have none for to -1, and everything
 *   else to zero, which means its default. Any size from that of version 0.2 on is accepted. A library that is newer than
 *   your header uses defaults for what you do not know; an older one that finds a non-zero member which it does not know
 *   answers RP_HANDOFF_ERR_UNSUPPORTED, so that no setting is dropped in silence. In results it writes
 *   only the members that both versions know. Where a member is a flag, zero is no and anything else is yes. `reserved`
 *   members are zero. A pointer and its length are the members `x` and `x_length`; `x` may be NULL where the length is 0.
 *
 * TIME
 *
 *   Durations and instants are nanoseconds in a uint64_t. Instants are of CLOCK_MONOTONIC unless you give a clock of
 *   your own. A limit L is passed when now >= L: equality counts as late, everywhere. A duration in a struct that is
 *   longer than the member allows, RP_HANDOFF_FOREVER included, means the longest that is allowed; where nothing else is
 *   said that is one year. A handoff has one deadline, fixed when its token is issued; dialling, sending and waiting for
 *   the answer all end at it, and a peer that trickles bytes cannot stretch it.
 *
 * THREADS, FORK, SIGNALS
 *
 *   A handle may be used by several threads at once, except that its destroy must be the last call on it. Locks are
 *   held for short computations only, never during a system call that can wait nor while a callback of yours runs. A call
 *   that can wait says so; all others never do. After fork(2) a child may only destroy the handles that it inherited,
 *   which closes its copies of descriptors and touches nothing that the parent uses; every other call answers
 *   RP_HANDOFF_ERR_FORKED. (If another thread was in a call on a handle, or on one that it uses, at the fork, destroy leaves
 *   the child's copy alone: its memory and descriptors stay until the child ends.) A fork is known by a mark of the
 *   process, not by its id, which namespaces repeat. System calls interrupted by a signal are repeated until the deadline,
 *   and pthread_cancel(3) takes effect only after a call returned. Only calls that say so are async-signal-safe.
 *
 *   Handles may be destroyed in any order: each keeps what it needs of others. Once a destroy has returned, no callback
 *   that was given to that handle runs any more. If another thread is in one, because a session asks its broker's clock,
 *   destroy waits until it has left; so end waits without limit before. A session or front door whose broker had a clock
 *   or random source of yours settles what is in flight, then ends (ERR_CLOSED), once that broker is destroyed; without
 *   such callbacks it goes on.
 *
 * CALLBACKS
 *
 *   A callback runs on the thread that made the call and before that call returns, with no lock held, and may call
 *   back into this API, but not destroy the handle in use, nor leave by longjmp(3). A wait on a handle from inside that
 *   handle's own wait is RP_HANDOFF_ERR_BUSY. A callback succeeds only by returning exactly RP_HANDOFF_CALLBACK_OK *and*
 *   filling in its results, which are set to failure before it is called: a callback across a foreign-function boundary
 *   that raised returns garbage, and garbage is never taken for success.
 *
 * SECURITY
 *
 *   Tokens come from getrandom(2), are compared in constant time, are wiped from memory when they end, and appear in no
 *   text. Who is at the other end comes from the kernel (SO_PEERCRED, SCM_CREDENTIALS), never from what a peer says of
 *   itself. Everything that a peer can make this library hold is bounded.
 */
#ifndef RP_HANDOFF_H
#define RP_HANDOFF_H

#include <stddef.h>
#include <stdint.h>

/* Marks what the library exports. A program that generates bindings may define it as nothing before it includes this. */
#ifndef RP_HANDOFF_API
#if defined(__GNUC__)
#define RP_HANDOFF_API __attribute__((visibility("default")))
#else
#define RP_HANDOFF_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ version ---- */

/* The version of this header; rp_handoff_version() tells that of the library. Until 1.0 the minor number changes with
 * every incompatible change and the soname stays librp_handoff.so.0: a program that dlopens the library compares
 * rp_handoff_version() with the version that it was built for. */
#define RP_HANDOFF_VERSION_MAJOR 0
#define RP_HANDOFF_VERSION_MINOR 2
#define RP_HANDOFF_VERSION_PATCH 0

/* major * 1000000 + minor * 1000 + patch of the library. Never fails. */
RP_HANDOFF_API uint32_t rp_handoff_version(void);

/* The same as static text, for instance "0.2.0". Never fails. */
RP_HANDOFF_API const char *rp_handoff_version_string(void);

/* ------------------------------------------------------------------------------------------------- errors ---- */

/* What calls return. The numbers are stable and never reused. */
enum {
    RP_HANDOFF_OK = 0,
    /* Of rp_handoff_offer_accept and ..._refuse: done, but the broker could not be told. */
    RP_HANDOFF_ACK_UNDELIVERED = 1,

    RP_HANDOFF_ERR_INVALID_ARGUMENT = -1,   /* NULL, out of range, text that is not UTF-8, contradicting settings */
    RP_HANDOFF_ERR_WRONG_HANDLE = -2,       /* a live handle of another kind, or of the session's other side */
    RP_HANDOFF_ERR_UNSUPPORTED = -3,        /* not on this platform, or a setting newer than this library */
    RP_HANDOFF_ERR_NO_MEMORY = -4,          /* nothing was changed */
    RP_HANDOFF_ERR_SYSTEM = -5,             /* a system call failed: errno, or os_error of the rp_handoff_error */
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
    RP_HANDOFF_ERR_STRUCT_SIZE = -16, /* no version of that struct has this size, or items of a list differ in it */
    RP_HANDOFF_ERR_BUSY = -17,        /* another wait is under way that this one cannot stand beside */
    RP_HANDOFF_ERR_FORKED = -18,      /* an inherited handle in a forked child, which may only destroy it */

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
    RP_HANDOFF_ERR_PATH_LOCKED = -35,   /* another process holds a lock on the directory of the path */

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

/* A sentence in English for any status; static text, never NULL. Never fails. */
RP_HANDOFF_API const char *rp_handoff_strerror(int32_t status);

/* Why a call failed, in full. The caller owns it and sets struct_size; a call fills it in on failure and leaves it alone on
 * success. Texts are UTF-8, NUL-terminated, free of control characters and of token bytes. */
typedef struct rp_handoff_error {
    uint32_t struct_size;
    int32_t status;   /* RP_HANDOFF_ERR_: what the call returned */
    int32_t os_error; /* errno of the system call that failed, 0 if none did */
    char member[64];  /* the parameter or member at fault, as spelled here; empty if it is none of them */
    char text[256];   /* a sentence: what is wrong and, where there is something, what to do */
} rp_handoff_error;
#define RP_HANDOFF_ERROR_INIT                                                                                          \
    { .struct_size = sizeof(rp_handoff_error) }

/* Names for metrics and logs: the constant's name without its prefix, in lower case, for instance "permission_denied" for
 * RP_HANDOFF_REASON_PERMISSION_DENIED or RP_HANDOFF_CAUSE_PERMISSION_DENIED, and "unknown" for any other number. Static
 * text, never NULL. None of these can fail, and all are async-signal-safe.
 * status_name: of RP_HANDOFF_OK, RP_HANDOFF_ACK_UNDELIVERED and RP_HANDOFF_ERR_. */
RP_HANDOFF_API const char *rp_handoff_status_name(int32_t status);
/* cause_name: of RP_HANDOFF_CAUSE_. Never fails. */
RP_HANDOFF_API const char *rp_handoff_cause_name(int32_t cause);
/* reason_name: of RP_HANDOFF_REASON_. Never fails. */
RP_HANDOFF_API const char *rp_handoff_reason_name(int32_t reason);
/* stage_name: of RP_HANDOFF_STAGE_. Never fails. */
RP_HANDOFF_API const char *rp_handoff_stage_name(int32_t stage);
/* owner_name: of RP_HANDOFF_OWNER_. Never fails. */
RP_HANDOFF_API const char *rp_handoff_owner_name(int32_t ownership);
/* event_name: of RP_HANDOFF_EVENT_. Never fails. */
RP_HANDOFF_API const char *rp_handoff_event_name(int32_t kind);

/* ----------------------------------------------------------------------------------------------- platform ---- */

/* Whether this process is exempt from the kernel's limit on descriptors in flight, which counts per user against
 * RLIMIT_NOFILE (unix(7), ETOOMANYREFS); the capabilities CAP_SYS_RESOURCE and CAP_SYS_ADMIN exempt. */
enum { RP_HANDOFF_EXEMPT_UNKNOWN = 0, RP_HANDOFF_EXEMPT_NO = 1, RP_HANDOFF_EXEMPT_YES = 2 };

/* What this library can do here. */
typedef struct rp_handoff_platform {
    uint32_t struct_size;
    int32_t descriptor_passing; /* 1: execute can hand over; 0: every execute is a fallback, "unsupported platform" */
    int32_t in_flight_exempt;   /* RP_HANDOFF_EXEMPT_; UNKNOWN in a build without libcap */
} rp_handoff_platform;
#define RP_HANDOFF_PLATFORM_INIT                                                                                       \
    { .struct_size = sizeof(rp_handoff_platform) }

/* Fills in what holds for this process now: capabilities can change. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_get_platform(rp_handoff_platform *out_platform);

/* -------------------------------------------------------------------------------------------------- token ---- */

/* The length of a token in bytes. */
enum { RP_HANDOFF_TOKEN_SIZE = 16 };

/* A one-time secret of 16 bytes. Wipe your copies when you are done with them. */
typedef struct rp_handoff_token {
    uint8_t bytes[16]; /* any bytes */
} rp_handoff_token;

/* Sixteen bytes of getrandom(2). Errors: ERR_INVALID_ARGUMENT (NULL), ERR_RANDOM. */
RP_HANDOFF_API int32_t rp_handoff_token_generate(rp_handoff_token *out_token);

/* 1 if equal, 0 if not or if either is NULL; the time it takes tells nothing of the bytes. Never fails. */
RP_HANDOFF_API int32_t rp_handoff_token_equal(const rp_handoff_token *a, const rp_handoff_token *b);

/* Overwrites the token with zeros in a way that a compiler does not remove. Accepts NULL. Never fails. */
RP_HANDOFF_API void rp_handoff_token_wipe(rp_handoff_token *token);

/* ------------------------------------------------------------------------------------ replaceable sources ---- */

/* What a callback returns to say that it succeeded. Every other value is a failure. */
enum { RP_HANDOFF_CALLBACK_OK = 0x52504F4B };

/* For timeouts: no limit. For durations in structs: the longest that is allowed. */
#define RP_HANDOFF_FOREVER UINT64_MAX

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

/* --------------------------------------------------------------------------------------------------- peers ---- */

/* Whom to talk to. By default a peer must have this process's effective user id. `peer_uids` names the allowed user
 * ids instead (so include your own if it is to stay allowed). What the kernel reports of a path endpoint is the process
 * that called listen(2) and, on the listening side, the process that connected. The user decides. A process in another
 * pid namespace has the pid 0, which is unknown, and does not match a pid that is required. A user whom this process's
 * user namespace does not map comes with the overflow uid (/proc/sys/kernel/overflowuid, as a rule 65534), which stands for
 * nobody: it is rejected, also if this process has it itself, unless `peer_uids` lists it, and then it stands for all of
 * them. Where every user is mapped that uid is one like others. */
enum {
    RP_HANDOFF_PEER_ANY_UID = 1u << 0,      /* anyone who can reach the socket */
    RP_HANDOFF_PEER_MATCH_PID = 1u << 1,    /* broker: the process that listens there must have the pid that the token
                                               was issued for (tokens issued for pid 0 are not checked) */
    RP_HANDOFF_PEER_REQUIRE_PIDFD = 1u << 2 /* sessions: reject a peer for whom the kernel gives no pidfd (Linux 6.5) */
};

/* For a connection or listener that was made elsewhere, the kernel names the process that called connect(2), listen(2)
 * or socketpair(2), which is not always the one that holds the other end: an inherited socketpair, an activated
 * listener. So the caller has to say on what its trust rests. There is no default. */
enum {
    RP_HANDOFF_TRUST_CREDENTIALS = 1, /* check those credentials against the peer settings all the same */
    RP_HANDOFF_TRUST_CALLER = 2       /* the caller vouches for whoever holds the other end */
};

/* ------------------------------------------------------------------------------------------------- broker ---- */

/* Tokens, deadlines, bounds and counters of all that one process hands over. */
typedef struct rp_handoff_broker rp_handoff_broker;

/* Settings of a broker. */
typedef struct rp_handoff_broker_options {
    uint32_t struct_size;
    uint32_t peer_flags;         /* RP_HANDOFF_PEER_ANY_UID, RP_HANDOFF_PEER_MATCH_PID; of the v1 exchange */
    const uint32_t *peer_uids;   /* see "peers"; NULL and 0: this process's effective user id */
    size_t peer_uids_length;     /* at most 64 */
    uint64_t token_ttl_ns;       /* default 30 s */
    uint64_t ack_deadline_ns;    /* from issue to acknowledgement; default 5 s, less than token_ttl_ns */
    uint32_t max_pending;        /* tokens issued and not yet ended; default 1024, at most 16777216 */
    uint32_t collision_attempts; /* random values tried before ERR_TOKEN_COLLISION; default 16 */
    uint32_t max_frame_bytes;    /* longest answer read from a backend; default 65536, at most 16777216 */
    uint32_t in_flight_percent;  /* share of RLIMIT_NOFILE (as it was at create) that the unanswered handoffs of all
                                    sessions together may take; default 50, at most 100 */
    rp_handoff_now_fn now;       /* now and wait: both or none (CLOCK_MONOTONIC and ppoll(2)) */
    rp_handoff_wait_fn wait;     /* see now */
    void *time_user_data;        /* for both */
    rp_handoff_random_fn random; /* NULL: getrandom(2) */
    void *random_user_data;      /* for random */
    /* Of the policy, which rp_handoff_v1.h explains: */
    uint32_t max_failed_attempts;       /* per backend and window; default 8 */
    uint32_t max_backends;              /* with failures, remembered at once; default 1024, at most 1048576 */
    uint64_t failed_attempts_window_ns; /* default 30 s */
    uint32_t recovery_accepts;          /* in a row, that end descriptor pressure; default 3 */
    uint32_t reserved;                  /* 0 */
} rp_handoff_broker_options;
#define RP_HANDOFF_BROKER_OPTIONS_INIT                                                                                 \
    { .struct_size = sizeof(rp_handoff_broker_options) }

/* Makes a broker. `options` may be NULL: all defaults.
 * Errors: ERR_INVALID_ARGUMENT (an unknown peer flag, a number above its limit, more than 64 uids or uids without a
 * list, an ack_deadline_ns that is not less than token_ttl_ns, only one of now and wait), ERR_UNSUPPORTED, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_broker_create(const rp_handoff_broker_options *options,
                                                rp_handoff_broker **out_broker, rp_handoff_error *out_error);

/* Wipes and revokes all that is pending, once no session or front door of it is left. Closes the sockets that were kept
 * open so that unread offers of ended sessions stay counted; a broker holds no others between calls. Accepts NULL. Never
 * fails. */
RP_HANDOFF_API void rp_handoff_broker_destroy(rp_handoff_broker *broker);

/* Issues a token for one handoff and registers the acknowledgement it awaits: its deadline starts now. `service_name`
 * (UTF-8, at most 255 bytes, not NULL) travels in the offer; `backend_pid` is bookkeeping unless
 * RP_HANDOFF_PEER_MATCH_PID is set, 0 for unknown. The token ends by execute, a session's outcome, acknowledge, revoke or
 * next_overdue. Expired tokens do not count against max_pending.
 * Errors: ERR_INVALID_ARGUMENT (a name that is too long or not UTF-8), ERR_LIMIT (max_pending), ERR_RANDOM,
 * ERR_TOKEN_COLLISION, ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_broker_issue(rp_handoff_broker *broker, const char *service_name,
                                               uint32_t backend_pid, rp_handoff_token *out_token);

/* Ends the token. 1 if it was pending, 0 if not. An execute that is waiting with it ends in a fallback, REVOKED, once
 * its answer or deadline comes. A session's handoff goes on, whatever this answers: rp_handoff_session_cancel ends
 * that. Errors: ERR_INVALID_ARGUMENT (NULL). */
RP_HANDOFF_API int32_t rp_handoff_broker_revoke(rp_handoff_broker *broker, const rp_handoff_token *token);

/* A handoff that nobody drove to its end. */
typedef struct rp_handoff_overdue {
    uint32_t struct_size;
    uint32_t backend_pid;   /* as given to issue */
    rp_handoff_token token; /* which has ended */
    char service_name[256]; /* as given to issue */
} rp_handoff_overdue;
#define RP_HANDOFF_OVERDUE_INIT                                                                                        \
    { .struct_size = sizeof(rp_handoff_overdue) }

/* Ends the oldest handoff that was issued and is past its deadline, except those that an execute or a session is driving,
 * which end them themselves: 1, or 0 if there is none. `out` may be NULL. Each call also drops some tokens that have
 * expired; those drop out of every other call too. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_broker_next_overdue(rp_handoff_broker *broker, rp_handoff_overdue *out);

/* Counters since create, except those of the moment. */
typedef struct rp_handoff_broker_statistics {
    uint32_t struct_size;
    uint32_t pending_tokens;            /* of the moment; expired ones among them until they are dropped */
    uint32_t pending_acks;              /* of the moment: issued, and not ended */
    uint32_t backends_with_failures;    /* of the moment: that the policy remembers */
    uint64_t issued;                    /* tokens */
    uint64_t completed;                 /* by execute, a session or acknowledge */
    uint64_t revoked;                   /* by revoke */
    uint64_t overdue;                   /* by next_overdue, or a late acknowledge */
    uint64_t fallbacks;                 /* the sum of the next three, and of fallbacks_by_reason */
    uint64_t fallbacks_owner_broker;    /* fallbacks that say BROKER */
    uint64_t fallbacks_owner_backend;   /* fallbacks that say BACKEND */
    uint64_t fallbacks_owner_ambiguous; /* fallbacks that say AMBIGUOUS */
    uint64_t fallbacks_by_reason[16];   /* index: RP_HANDOFF_REASON_; the rest is zero */
    int32_t fd_pressure;                /* of the moment: 1 if descriptors are short */
    uint32_t reserved;                  /* 0 */
    uint64_t fd_pressure_episodes;      /* times of pressure that have begun */
    uint64_t fd_pressure_refusals;      /* Hellos that the front door refused because of it */
} rp_handoff_broker_statistics;
#define RP_HANDOFF_BROKER_STATISTICS_INIT                                                                              \
    { .struct_size = sizeof(rp_handoff_broker_statistics) }

/* Fills in the counters. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_broker_get_statistics(rp_handoff_broker *broker,
                                                        rp_handoff_broker_statistics *out_statistics);

/* ------------------------------------------------------------------------------------------------ outcome ---- */

/* How a handoff ended. The numbers are stable and never reused. */
enum {
    RP_HANDOFF_COMPLETED = 1, /* acknowledged in time: BACKEND */
    RP_HANDOFF_FALLBACK = 2   /* abandoned: `ownership` says whose the connection is */
};
/* Who may use the connection: see "ownership of the connection". */
enum { RP_HANDOFF_OWNER_BROKER = 1, RP_HANDOFF_OWNER_BACKEND = 2, RP_HANDOFF_OWNER_AMBIGUOUS = 3 };
/* Where it was abandoned. */
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
    RP_HANDOFF_REASON_NONE = 0,                        /* completed */
    RP_HANDOFF_REASON_CLIENT_UNSUPPORTED = 1,          /* the client cannot keep a handed-over connection */
    RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED = 2,     /* also: not supported on this platform */
    RP_HANDOFF_REASON_FD_PRESSURE_DISABLED = 3,        /* descriptors are short, here or in flight */
    RP_HANDOFF_REASON_FAILED_ATTEMPT_RATE_LIMITED = 4, /* the backend failed too often of late */
    RP_HANDOFF_REASON_PERMISSION_DENIED = 5,           /* the kernel or the peer settings forbid it */
    RP_HANDOFF_REASON_INTEGRITY_MISMATCH = 6,          /* the backend is not the process it should be */
    RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT = 7,         /* the backend never proved adoption, for whatever cause */
    RP_HANDOFF_REASON_ADOPTED_BACKEND = 8              /* the backend was inherited from an earlier broker */
};
/* Why it was abandoned, as far as the library knows. */
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
    RP_HANDOFF_CAUSE_REVOKED = 19,         /* revoked or ended by another call while the answer was awaited */
    RP_HANDOFF_CAUSE_CALLBACK_FAILED = 20, /* a callback failed, or broke its contract */
    RP_HANDOFF_CAUSE_NO_MEMORY = 21,
    RP_HANDOFF_CAUSE_POLICY = 22,              /* not attempted; `reason` tells the objection */
    RP_HANDOFF_CAUSE_DUPLICATE_FAILED = 23,    /* value handoffs */
    RP_HANDOFF_CAUSE_OFFER_FAILED = 24,        /* value handoffs: the backend could not be told; it cannot adopt */
    RP_HANDOFF_CAUSE_INTEGRITY_MISMATCH = 25,  /* value handoffs: the backend is not the process it should be */
    RP_HANDOFF_CAUSE_SESSION_LOST = 26,        /* the session ended before the answer */
    RP_HANDOFF_CAUSE_CANCELLED = 27,           /* by rp_handoff_session_cancel or ..._destroy */
    RP_HANDOFF_CAUSE_BACKEND_DESCRIPTORS = 28, /* the backend ran out of descriptors: the offer came without */
    RP_HANDOFF_CAUSE_DESCRIPTOR_DENIED = 29    /* the offer came without its descriptor though the backend has room for
                                                  it: a security module keeps it back */
};

/* What became of one handoff. */
typedef struct rp_handoff_outcome {
    uint32_t struct_size;
    int32_t result;                   /* RP_HANDOFF_COMPLETED or RP_HANDOFF_FALLBACK */
    int32_t ownership;                /* RP_HANDOFF_OWNER_ */
    int32_t stage;                    /* RP_HANDOFF_STAGE_ */
    int32_t reason;                   /* RP_HANDOFF_REASON_ */
    int32_t cause;                    /* RP_HANDOFF_CAUSE_ */
    int32_t os_error;                 /* errno of the system call that failed, 0 if none did */
    int32_t may_have_reached_backend; /* 1: the descriptor, or a part of the message with it, has left */
    uint64_t correlation_id;          /* of the offer */
    uint64_t waited_ns;               /* COMPLETED: from issue to the acknowledgement */
    uint64_t elapsed_ns;              /* the whole call, by the broker's clock */
    char detail[256];        /* UTF-8, NUL-terminated, free of control characters and of token bytes; for logs */
    uint64_t retry_after_ns; /* REASON_FAILED_ATTEMPT_RATE_LIMITED: when to try again; otherwise 0 */
} rp_handoff_outcome;
#define RP_HANDOFF_OUTCOME_INIT                                                                                        \
    { .struct_size = sizeof(rp_handoff_outcome) }

/* ----------------------------------------------------------------------------------------------- listener ---- */

/* A listening Unix stream socket, for either side of sessions and for backends of the v1 exchange. */
typedef struct rp_handoff_listener rp_handoff_listener;

/* Where to listen: at a path, or on a socket that listens already. */
typedef struct rp_handoff_listener_options {
    uint32_t struct_size;
    int32_t fd; /* TAKEN ON SUCCESS, and made non-blocking: a listening Unix stream socket (socket activation); 0 or
                         -1: none */
    const char *path; /* where to make a socket; NULL: use fd */
    int32_t trust; /* RP_HANDOFF_TRUST_, needed with fd: how rp_handoff_backend_add_listener judges who connects; with a
                         path 0 means RP_HANDOFF_TRUST_CREDENTIALS. Sessions authenticate their peers anyway. */
    uint32_t reserved; /* 0 */
} rp_handoff_listener_options;
#define RP_HANDOFF_LISTENER_OPTIONS_INIT                                                                               \
    { .struct_size = sizeof(rp_handoff_listener_options), .fd = -1 }

/* Makes a Unix stream socket at options->path, mode 0600, in an existing directory that is really a directory, belongs to
 * the effective user and has mode 0700; or TAKES ON SUCCESS the socket options->fd. At the path, a stale socket of the
 * same user is replaced; a live one, one of another user, or anything else is refused, and so are abstract names, which
 * have no permissions. Another user, root apart, cannot reach it: for one, give a socket of your own.
 * Errors: ERR_INVALID_ARGUMENT (neither path nor fd, both, descriptor 0, not a listening Unix stream socket, a trust that
 * is none), ERR_PATH_INVALID (also the address of fd), ERR_PATH_UNSAFE, ERR_PATH_IN_USE, ERR_PATH_FOREIGN,
 * ERR_PATH_LOCKED, ERR_UNSUPPORTED, ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_listener_create(const rp_handoff_listener_options *options,
                                                  rp_handoff_listener **out_listener, rp_handoff_error *out_error);

/* Closes the socket and removes the name that create made, if it still is this socket's; both only when no backend uses it
 * any more (rp_handoff_backend_add_listener). A name of an inherited socket is never removed, and in a forked child none
 * is. Accepts NULL. Never fails. */
RP_HANDOFF_API void rp_handoff_listener_destroy(rp_handoff_listener *listener);

/* A descriptor (borrowed, close-on-exec) that is readable when accept with timeout 0 has something to do, also after stop.
 * It is not the socket itself. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_listener_get_fd(rp_handoff_listener *listener);

/* Waits at most `timeout_ns`, in real time, and GIVES the next connection (close-on-exec), for
 * rp_handoff_session_create_backend or ..._create_broker. Errors: ERR_INVALID_ARGUMENT (NULL), ERR_TIMED_OUT, ERR_CLOSED
 * (after stop), ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_listener_accept(rp_handoff_listener *listener, uint64_t timeout_ns, int32_t *out_fd);

/* Makes every accept, waiting or to come, answer ERR_CLOSED. Clients that connect wait in the backlog until destroy. A
 * backend that uses the listener goes on: see rp_handoff_backend_stop. Async-signal-safe. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_listener_stop(rp_handoff_listener *listener);

/* ------------------------------------------------------------------------------------------------- offers ---- */

/* A connection that a broker offers to this process. */
typedef struct rp_handoff_offer rp_handoff_offer;

/* What an offer says of itself. */
enum {
    RP_HANDOFF_OFFER_READY_FOLLOWS =
        1u << 0, /* the broker will write to the connection: not before the client's first byte */
    RP_HANDOFF_OFFER_HAS_PROLOGUE = 1u << 1 /* accept writes a prologue first */
};

/* What came with an offer. Pointers are valid until its destroy. */
typedef struct rp_handoff_offer_info {
    uint32_t struct_size;
    uint32_t flags;             /* RP_HANDOFF_OFFER_ */
    const char *service_name;   /* UTF-8, NUL-terminated; what the broker wrote: check it */
    size_t service_name_length; /* without the NUL */
    uint64_t correlation_id;    /* as the broker numbered it */
    uint32_t peer_pid;          /* of the broker, as the kernel tells it; 0: unknown */
    uint32_t peer_uid;          /* of the broker, as the kernel tells it */
    uint64_t received_ns;       /* instant */
    rp_handoff_token token;     /* of this handoff; wipe your copy */
    /* Of a session's offer; otherwise empty: */
    const uint8_t *metadata; /* what the broker says of the connection */
    size_t metadata_length;
    const uint8_t *early; /* what the broker had read from the connection: it comes before what is read from it */
    size_t early_length;
    const uint8_t *unwritten; /* after accept: of the prologue, what the connection did not take: write it first */
    size_t unwritten_length;
} rp_handoff_offer_info;
#define RP_HANDOFF_OFFER_INFO_INIT                                                                                     \
    { .struct_size = sizeof(rp_handoff_offer_info) }

/* Fills in what came with the offer. Allowed until destroy, also after the answer. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_offer_get_info(const rp_handoff_offer *offer, rp_handoff_offer_info *out_info);

/* GIVES the connection's descriptor: consumes the token, then acknowledges. From here on the connection is this
 * process's to serve. RP_HANDOFF_ACK_UNDELIVERED (positive) says the same, but that the broker could not be told: it is
 * gone, or has given up and will not serve the connection either. The descriptor's flags are as the broker left them: set
 * or clear O_NONBLOCK before the first read. Of the v1 exchange: do not write before the client's first byte, for the
 * broker writes its "ready" frame on the same stream. Of a session's offer: adopts in the ledger, writes the prologue if
 * there is one, and leaves the acknowledgement to the next flush; the backend may write at once unless
 * RP_HANDOFF_OFFER_READY_FOLLOWS.
 * Errors: ERR_INVALID_ARGUMENT (NULL), ERR_ANSWERED; ERR_TOKEN_EXPIRED, ERR_TOKEN_NOT_PENDING (v1: the time to live
 * passed, or it was revoked, since the offer was read: it is refused and the descriptor closed); ERR_REVOKED (session: the
 * broker was faster, and the descriptor is closed); ERR_PROTOCOL (session: the ledger does not say what the offer says; the
 * session ends). */
RP_HANDOFF_API int32_t rp_handoff_offer_accept(rp_handoff_offer *offer, int32_t *out_fd);

/* Closes the descriptor, then tells the broker `text` (UTF-8, NULL for none; cut at 1024 bytes, in a session at 255,
 * and left out there while many wait to be sent): the broker owns the connection again. RP_HANDOFF_ACK_UNDELIVERED if it
 * could not be told. Errors: ERR_ANSWERED. */
RP_HANDOFF_API int32_t rp_handoff_offer_refuse(rp_handoff_offer *offer, const char *text);

/* Ends the handle; an offer without an answer is refused. Never closes a descriptor that accept gave. Accepts NULL. Never
 * fails. */
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
 *   rp_handoff_session_create_broker                      rp_handoff_listener_create, rp_handoff_listener_accept
 *     (dials a path, or takes a connected descriptor)     rp_handoff_session_create_backend (takes that descriptor)
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
 * LOOPS. No thread is started and nothing waits inside process and next_event. Ask rp_handoff_session_get_timeout, sleep
 * until rp_handoff_session_get_fd is ready for input (POLLIN, level-triggered, not EPOLLET) or that time has passed, call
 * process, then next_event until it answers 0, or less often. The rule: the descriptor is readable, or the timeout is 0,
 * whenever process would do something or next_event would give something; otherwise nothing wakes anybody. It holds
 * however many threads process, wait, submit or take events, as long as whoever was told a timeout and called process asks
 * again before he sleeps, and nobody asks who is not going to sleep by it. With several loops on one session the one that
 * asked last is answerable. A submit or a close that makes the timeout shorter than it was told makes the descriptor ready,
 * so that a loop need not ask again for that.
 *   The next_event that answers 0 also sends the answers of the offers that were accepted or refused in between, many in
 * one write; an offer that is answered at another time is answered at once. The descriptor stays the same for the life of
 * the session; any loop that can watch a descriptor will do (poll, epoll, libuv, GLib, asyncio). A worker thread blocks in
 * rp_handoff_session_wait instead. A session holds two sockets and the peer's pidfd, two descriptors more once get_fd was
 * called, and one more once a thread has waited.
 *
 * BACK-PRESSURE. A broker holds at most max_in_flight handoffs of a session that the backend has not answered or whose
 * events were not taken, revoked ones included, since their descriptors lie in the backend's queue and count against
 * this user's limit (ETOOMANYREFS); and over all sessions of a broker at most a share of RLIMIT_NOFILE. A submit beyond
 * a bound says at once which: ERR_LIMIT_SESSION, ERR_LIMIT_DESCRIPTORS, ERR_LIMIT_BYTES, or ERR_LIMIT for tokens. An answer
 * makes room only as far as the kernel confirms that the backend has read, and what an ended session left unread counts
 * against later sessions of the same path, or for connected descriptors of the same user, until it is gone. Where one
 * stopped backend must not keep the others of a broker from their part of that share, max_in_flight of each session is to
 * be less than the share by as much as the others need: with RLIMIT_NOFILE 1024 and the defaults it is 256 of 512.
 *
 * CLOSING. close(2) of the last copy of a TCP socket with SO_LINGER waits as long as whoever set that chose, and a peer can
 * set it on what it gave. No lock is held meanwhile, so only the call that closes waits: refuse, destroy, and for a broker
 * the call that takes the backend's answer. What came unasked is kept from waiting; a peer that sets the option again in
 * between can still delay that call.
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

/* Settings of either side of a session. The peer is judged by what the kernel says of the sender of its first messages:
 * its user, process and pidfd. For a path that is dialled the user of who listens there is judged before, in create; the
 * process is not, for a listener may be served by another one. */
typedef struct rp_handoff_session_options {
    uint32_t struct_size;
    uint32_t peer_flags;       /* RP_HANDOFF_PEER_ANY_UID, RP_HANDOFF_PEER_REQUIRE_PIDFD */
    const uint32_t *peer_uids; /* see "peers"; NULL and 0: this process's effective user id */
    size_t peer_uids_length;   /* at most 64 */
    uint32_t peer_pid;         /* the peer must be this process; 0: any */
    int32_t connection_fd;   /* TAKEN ON SUCCESS, and made blocking and close-on-exec: a connected Unix stream socket of
                                  which nobody else holds a duplicate; 0 or -1: none */
    const char *socket_path; /* to dial; NULL: use connection_fd, which is not looked at otherwise */
    const char *service_name;  /* broker: told to the backend, which finds it in the info of each offer; UTF-8, at most
                                  255 bytes; may be NULL */
    uint32_t max_in_flight;    /* default 256, at most RP_HANDOFF_IN_FLIGHT_MAX; the smaller one of both sides counts */
    uint32_t max_queued_bytes; /* broker: metadata, early bytes and prologues not sent yet; default 1 MiB */
    uint32_t max_held_bytes; /* backend: the same of offers that were received and not destroyed; while there is no room
                                  for the next one nothing more is read; default 16 MiB, at least 128 KiB */
    uint32_t reserved;       /* 0 */
    uint64_t open_timeout_ns; /* for dialling and the hellos together, and for the peer's part of close; default 5 s */
    rp_handoff_now_fn now;    /* backend: now and wait, both or none; a broker's session has its broker's */
    rp_handoff_wait_fn wait;  /* see now */
    void *time_user_data;     /* for both */
} rp_handoff_session_options;
#define RP_HANDOFF_SESSION_OPTIONS_INIT                                                                                \
    { .struct_size = sizeof(rp_handoff_session_options), .connection_fd = -1 }

/* Begins a session as the broker: dials the path or TAKES ON SUCCESS the descriptor. Submits are accepted at once and sent
 * when the hellos are through, which the event OPENED tells; if it does not come to that, the event CLOSED. Uses `broker`
 * for tokens, time, bounds and counters, but neither its peer settings (those of these options count) nor its policy.
 * Errors: ERR_INVALID_ARGUMENT (neither path nor descriptor, descriptor 0, not a connected Unix stream socket, a clock of
 * its own, an unknown peer flag, too many uids, a number above its limit, a name that is too long or not UTF-8),
 * ERR_PATH_INVALID, ERR_UNAVAILABLE (nobody listens there), ERR_CLOSED (who was connected has gone), ERR_PEER_REJECTED,
 * ERR_UNSUPPORTED, ERR_NO_MEMORY, ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_session_create_broker(rp_handoff_broker *broker,
                                                        const rp_handoff_session_options *options,
                                                        rp_handoff_session **out_session, rp_handoff_error *out_error);

/* Begins a session as the backend: the same. Errors: as of ..._create_broker, but ERR_INVALID_ARGUMENT also for only one of
 * now and wait, and not for a clock of its own. */
RP_HANDOFF_API int32_t rp_handoff_session_create_backend(const rp_handoff_session_options *options,
                                                         rp_handoff_session **out_session, rp_handoff_error *out_error);

/* Ends it at once. Broker: every handoff that has no outcome yet is settled in the ledger first; a connection that is
 * the broker's then, or whose event was not taken, is ended with shutdown(2) and close(2), one that is the backend's
 * with close(2) alone, and duplicates (RP_HANDOFF_SUBMIT_DUPLICATE) with close(2) alone. Backend: offers that were not
 * taken are refused; offers that were taken stay valid until they are destroyed, and accept and refuse still settle
 * them in the ledger. In a forked child it touches neither ledger nor socket, and closes the child's copies. Accepts NULL.
 * Never fails. */
RP_HANDOFF_API void rp_handoff_session_destroy(rp_handoff_session *session);

/* Begins an orderly end: no further submits; what is in flight runs to its outcome; then both sides close, and the event
 * CLOSED with status RP_HANDOFF_OK comes last. The backend may call it too: then the broker's submits are ERR_CLOSED, and
 * what it had not sent yet comes back as BROKER. A peer that does not do its part within open_timeout_ns after this side
 * did makes it ERR_TIMED_OUT. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_session_close(rp_handoff_session *session);

/* A descriptor (borrowed, close-on-exec) to watch for input: when it is readable, process has something to do.
 * Errors: ERR_SYSTEM. */
RP_HANDOFF_API int32_t rp_handoff_session_get_fd(rp_handoff_session *session);

/* Nanoseconds until process has to be called even if the descriptor is not readable, or RP_HANDOFF_FOREVER.
 * Errors: ERR_INVALID_ARGUMENT (NULL). */
RP_HANDOFF_API int32_t rp_handoff_session_get_timeout(rp_handoff_session *session, uint64_t *out_timeout_ns);

/* Does what can be done without waiting: receives, sends what is queued, ends what is due. An end of the session is no
 * error but the event CLOSED, whose status tells why. Errors: ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_session_process(rp_handoff_session *session);

/* As process, but waits at most `timeout_ns` for an event: 1 if there is one, 0 if the time passed or the session is over
 * and its last event was taken. Sends accumulated answers before it waits. Errors: ERR_BUSY (another thread waits, and the
 * session has a clock of the caller's; or a call from inside that clock), ERR_CLOSED (after stop), ERR_SYSTEM,
 * ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_session_wait(rp_handoff_session *session, uint64_t timeout_ns);

/* Makes every wait, under way or to come, answer ERR_CLOSED. An execute under way settles its handoff at once, as by cancel;
 * one to come answers ERR_CLOSED and hands nothing over. Nothing else changes: close or destroy the session then.
 * Async-signal-safe. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_session_stop(rp_handoff_session *session);

/* What happened in a session. */
enum {
    RP_HANDOFF_EVENT_OPENED = 1,  /* the hellos are through: see rp_handoff_session_get_peer */
    RP_HANDOFF_EVENT_OUTCOME = 2, /* broker: of one handoff; exactly one for each that was submitted */
    RP_HANDOFF_EVENT_OFFER = 3,   /* backend */
    RP_HANDOFF_EVENT_CLOSING = 4, /* broker: the backend wants no more offers (its close); what is in flight goes on */
    RP_HANDOFF_EVENT_CLOSED = 5   /* the last event of a session; `status` tells why */
};

/* One event. */
typedef struct rp_handoff_event {
    uint32_t struct_size;
    int32_t kind;            /* RP_HANDOFF_EVENT_ */
    int32_t status;          /* CLOSED: RP_HANDOFF_OK after an orderly end, or an RP_HANDOFF_ERR_ */
    int32_t ownership;       /* OUTCOME: RP_HANDOFF_OWNER_BROKER or RP_HANDOFF_OWNER_BACKEND */
    int32_t fd;              /* OUTCOME, BROKER: given back; -1 otherwise, and if the submit duplicated it */
    int32_t os_error;        /* CLOSED: errno of the system call that failed, 0 if none did */
    uint64_t id;             /* OUTCOME: of the handoff, as submit gave it */
    uint64_t user_data;      /* OUTCOME: of the submission */
    rp_handoff_offer *offer; /* OFFER: given; end it with rp_handoff_offer_destroy */
    const char *text;   /* CLOSED: why, a sentence, NUL-terminated; empty after an orderly end; valid until destroy */
    size_t text_length; /* without the NUL */
} rp_handoff_event;
#define RP_HANDOFF_EVENT_INIT                                                                                          \
    { .struct_size = sizeof(rp_handoff_event), .fd = -1 }

/* Gives the next event: 1, or 0 if there is none; then the answers that accumulated are sent. `out_outcome` may be NULL; it
 * is filled in with the event OUTCOME. An OUTCOME that says BROKER GIVES a descriptor back: take them all. Errors: the
 * common ones. */
RP_HANDOFF_API int32_t rp_handoff_session_next_event(rp_handoff_session *session, rp_handoff_event *out_event,
                                                     rp_handoff_outcome *out_outcome);

/* Sends accumulated answers, for who wants them to leave before next_event answers 0. Errors: ERR_NO_MEMORY. */
RP_HANDOFF_API int32_t rp_handoff_session_flush(rp_handoff_session *session);

/* How to submit. */
enum {
    RP_HANDOFF_SUBMIT_DUPLICATE = 1u << 0, /* work on a dup(2) of fd: yours stays yours, to close in any case, and to
                                              use only after an OUTCOME that says BROKER */
    RP_HANDOFF_SUBMIT_TOKEN = 1u << 1,     /* `token` is one of rp_handoff_broker_issue; otherwise submit issues one */
    RP_HANDOFF_SUBMIT_READY_FOLLOWS = 1u << 2, /* tells the backend that the broker will write to the connection once it
                                                  is adopted (a v1 ready frame): not to write before the client's first
                                                  byte */
    RP_HANDOFF_SUBMIT_ANY_DESCRIPTOR = 1u
                                       << 3 /* fd may be 0, for instance a server's that inetd started; otherwise 0 is
                                                  refused as a member that was forgotten */
};

/* A connection to hand over. */
typedef struct rp_handoff_submission {
    uint32_t struct_size;
    int32_t fd;              /* TAKEN ON SUCCESS: the client connection, any descriptor that sendmsg(2) can pass */
    uint32_t flags;          /* RP_HANDOFF_SUBMIT_ */
    uint32_t reserved;       /* 0 */
    const uint8_t *metadata; /* opaque, for the backend: peer address, server name; at most RP_HANDOFF_METADATA_MAX */
    size_t metadata_length;
    const uint8_t *early; /* bytes that the broker has read from the connection already; at most
                             RP_HANDOFF_EARLY_BYTES_MAX */
    size_t early_length;
    const uint8_t *prologue; /* what the backend's accept writes first on the connection (sockets only); at most
                                RP_HANDOFF_PROLOGUE_MAX */
    size_t prologue_length;
    uint64_t timeout_ns;     /* from this call to the outcome; default and longest: the broker's ack_deadline_ns */
    uint64_t correlation_id; /* 0: the broker's next */
    uint64_t user_data;      /* comes back in the event */
    rp_handoff_token token;  /* read with RP_HANDOFF_SUBMIT_TOKEN */
} rp_handoff_submission;
#define RP_HANDOFF_SUBMISSION_INIT                                                                                     \
    { .struct_size = sizeof(rp_handoff_submission), .fd = -1 }

/* Submits the items from the first on: the number that were submitted, 1 to items_length, or an error of the first one and
 * nothing happened. Fewer than items_length: `out_error` tells why the next one was not (its status is the error), and
 * status RP_HANDOFF_OK is never written there. The items lie struct_size apart, which all of them say alike. TAKES ON
 * SUCCESS the descriptor of each submitted item. What can be sent is sent at once, up to RP_HANDOFF_BATCH_MAX descriptors
 * in one sendmsg(2). Each gets an id that is unique in the session (`out_ids` may be NULL), and exactly one OUTCOME event.
 * Remove a descriptor from your epoll set before. A number that is not open is found out as it is sent, unless it has to be
 * duplicated or has a prologue: then its outcome is BROKER with EBADF.
 * Errors: ERR_INVALID_ARGUMENT (no items, descriptor -1, or 0 without RP_HANDOFF_SUBMIT_ANY_DESCRIPTOR, an unknown flag, a
 * length above its limit or above max_queued_bytes, a length without bytes, a prologue for what is no socket),
 * ERR_STRUCT_SIZE (also items that differ in it, or whose size is no multiple of 8), ERR_LIMIT_SESSION,
 * ERR_LIMIT_DESCRIPTORS, ERR_LIMIT_BYTES, ERR_LIMIT, ERR_CLOSED, ERR_TOKEN_NOT_PENDING, ERR_TOKEN_EXPIRED,
 * ERR_TOKEN_IN_USE, ERR_RANDOM, ERR_TOKEN_COLLISION, ERR_WRONG_HANDLE (a backend's session), ERR_UNSUPPORTED,
 * ERR_NO_MEMORY, ERR_SYSTEM (dup(2)). */
RP_HANDOFF_API int32_t rp_handoff_session_submit(rp_handoff_session *session, const rp_handoff_submission *items,
                                                 size_t items_length, uint64_t *out_ids, rp_handoff_error *out_error);

/* Settles a handoff now: 1, and its OUTCOME event says whose the connection is; 0 if it has its outcome already.
 * Errors: ERR_WRONG_HANDLE (a backend's session). */
RP_HANDOFF_API int32_t rp_handoff_session_cancel(rp_handoff_session *session, uint64_t id);

/* BORROWS submission->fd and hands it over. Waits for the hellos and then for the outcome, at most until its deadline. The
 * same engine without an event. RP_HANDOFF_SUBMIT_DUPLICATE and user_data are not looked at. Errors, none of which handed
 * anything over: as of submit; ERR_BUSY as of wait; ERR_CLOSED after stop too. */
RP_HANDOFF_API int32_t rp_handoff_session_execute(rp_handoff_session *session, const rp_handoff_submission *submission,
                                                  rp_handoff_outcome *out_outcome, rp_handoff_error *out_error);

/* Whether a pidfd of the peer (pidfd_open(2), safe against pid reuse) is held, or why not: the kernel has no such thing, it
 * gave none, or the process was gone already. */
enum {
    RP_HANDOFF_PIDFD_HELD = 1,
    RP_HANDOFF_PIDFD_UNSUPPORTED = 2,
    RP_HANDOFF_PIDFD_UNAVAILABLE = 3,
    RP_HANDOFF_PIDFD_REAPED = 4
};

/* Who the peer is. */
typedef struct rp_handoff_session_peer {
    uint32_t struct_size;
    uint32_t pid;               /* 0: not visible from here (another pid namespace) */
    uint32_t uid;               /* as the kernel tells it */
    uint32_t gid;               /* as the kernel tells it */
    int32_t pidfd_state;        /* RP_HANDOFF_PIDFD_ */
    int32_t pidfd;              /* borrowed, valid until destroy; -1 unless HELD */
    uint32_t max_in_flight;     /* what both sides agreed on */
    uint32_t reserved;          /* 0 */
    const char *service_name;   /* backend: what the broker calls the service; valid until destroy */
    size_t service_name_length; /* without the NUL */
} rp_handoff_session_peer;
#define RP_HANDOFF_SESSION_PEER_INIT                                                                                   \
    { .struct_size = sizeof(rp_handoff_session_peer), .pidfd = -1 }

/* Fills in who the peer is, after the event OPENED. Errors: ERR_UNAVAILABLE (before it). */
RP_HANDOFF_API int32_t rp_handoff_session_get_peer(rp_handoff_session *session, rp_handoff_session_peer *out_peer);

/* Counters since create, except those of the moment. */
typedef struct rp_handoff_session_statistics {
    uint32_t struct_size;
    uint32_t in_flight;     /* of the moment: broker: submitted and not answered, or without event taken; backend: not
                            answered */
    uint64_t submitted;     /* broker */
    uint64_t completed;     /* broker: outcomes that say BACKEND */
    uint64_t fallbacks;     /* broker: outcomes that say BROKER */
    uint64_t offers;        /* backend: received */
    uint64_t accepted;      /* backend */
    uint64_t refused;       /* backend */
    uint64_t lost;          /* backend: found revoked */
    uint64_t messages_sent; /* sendmsg(2) calls that moved bytes */
    uint64_t messages_received; /* recvmsg(2) calls that moved bytes */
} rp_handoff_session_statistics;
#define RP_HANDOFF_SESSION_STATISTICS_INIT                                                                             \
    { .struct_size = sizeof(rp_handoff_session_statistics) }

/* Fills in the counters. Errors: the common ones. */
RP_HANDOFF_API int32_t rp_handoff_session_get_statistics(rp_handoff_session *session,
                                                         rp_handoff_session_statistics *out_statistics);

#ifdef __cplusplus
}
#endif

#include "rp_handoff_v1.h"

#endif
