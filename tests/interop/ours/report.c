#include "rp_ours.h"

#include <inttypes.h>
#include <stdlib.h>

void report_begin(struct report *report, const char *side) {
    report->file = open_memstream(&report->text, &report->length);
    if (report->file == NULL)
        abort();
    fprintf(report->file, "{\"side\": \"%s\"", side);
}

static void put_string(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

void report_text(struct report *report, const char *key, const char *value) {
    fprintf(report->file, ", \"%s\": ", key);
    if (value != NULL)
        put_string(report->file, value);
    else
        fputs("null", report->file);
}

void report_number(struct report *report, const char *key, uint64_t value) {
    fprintf(report->file, ", \"%s\": %" PRIu64, key, value);
}

void report_flag(struct report *report, const char *key, int value) {
    fprintf(report->file, ", \"%s\": %s", key, value ? "true" : "false");
}

void report_token(struct report *report, const char *key, const uint8_t *bytes, size_t length) {
    fprintf(report->file, ", \"%s\": \"", key);
    for (size_t i = 0; i < length; i++)
        fprintf(report->file, "%02x", (unsigned)bytes[i]);
    fputc('"', report->file);
}

static const char *const stages[] = {NULL, "send", "await-ack", "acknowledge", "policy", "duplicate", "deliver"};
static const char *const owners[] = {NULL, "broker", "backend", "ambiguous"};
static const char *const reasons[] = {NULL,
                                      "ClientUnsupported",
                                      "ServicePolicyDisabled",
                                      "FdPressureDisabled",
                                      "FailedAttemptRateLimited",
                                      "PermissionDenied",
                                      "IntegrityMismatch",
                                      "BackendAckTimeout",
                                      "AdoptedBackend"};
static const char *const causes[] = {NULL,
                                     "unsupported-platform",
                                     "permission-denied",
                                     "peer-rejected",
                                     "peer-unknown",
                                     "backend-unavailable",
                                     "would-block",
                                     "descriptor-pressure",
                                     "send-failed",
                                     "partial-send",
                                     "offer-undelivered",
                                     "deadline-before-send",
                                     "ack-timed-out",
                                     "ack-read-failed",
                                     "backend-closed",
                                     "ack-malformed",
                                     "ack-unrelated",
                                     "backend-refused",
                                     "ack-overdue",
                                     "revoked",
                                     "callback-failed",
                                     "no-memory",
                                     "policy",
                                     "duplicate-failed",
                                     "offer-failed",
                                     "integrity-mismatch",
                                     "session-lost",
                                     "cancelled",
                                     "backend-descriptors"};

void report_outcome(struct report *report, const rp_handoff_outcome *outcome) {
    report_text(report, "outcome", outcome->result == RP_HANDOFF_COMPLETED ? "completed" : "fallback");
    report_text(report, "stage", stages[outcome->stage]);
    report_text(report, "reason", reasons[outcome->reason]);
    report_text(report, "cause", causes[outcome->cause]);
    report_text(report, "ownership", owners[outcome->ownership]);
    report_flag(report, "fd_reached", outcome->may_have_reached_backend);
    report_number(report, "os_error", (uint64_t)outcome->os_error);
    report_number(report, "correlation", outcome->correlation_id);
    report_number(report, "micros", outcome->elapsed_ns / 1000);
    report_text(report, "detail", outcome->detail);
}

void report_print(struct report *report) {
    fputs("}\n", report->file);
    if (fclose(report->file) != 0)
        abort();
    fwrite(report->text, 1, report->length, stdout);
    fflush(stdout);
    free(report->text);
}
