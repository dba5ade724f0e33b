#include "rp_ours.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

uint64_t micros_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int await_input(int fd, int timeout_ms) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    return poll(&watched, 1, timeout_ms) == 1;
}

void pause_ms(int ms) {
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

uint64_t open_descriptors(void) {
    uint64_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        closedir(directory);
    return count;
}

static struct sockaddr_un unix_address(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return address;
}

int listen_at(const char *path) {
    const struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    umask(0177);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        return -1;
    return fd;
}

static int connect_unix(const char *path) {
    const struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? fd : -1;
}

int connect_to(const char *target) {
    if (strncmp(target, "unix:", 5) == 0)
        return connect_unix(target + 5);
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(target, ':');
    if (colon == NULL || (size_t)(colon - target) >= sizeof host)
        return -1;
    memcpy(host, target, (size_t)(colon - target));
    host[colon - target] = '\0';
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || fd < 0)
        return -1;
    return connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? fd : -1;
}

void end_connection(int fd) {
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

void serve(struct report *report, int fd, int timeout_ms) {
    unsigned char byte = 0;
    if (await_input(fd, timeout_ms) && read(fd, &byte, 1) == 1) {
        report_number(report, "served_byte", byte);
        dprintf(fd, "%c%d\n", byte, (int)getpid());
    } else {
        report_text(report, "served_byte", NULL);
    }
    end_connection(fd);
}

static size_t read_line(int fd, char *line, size_t capacity, int timeout_ms) {
    size_t length = 0;
    while (length < capacity - 1 && await_input(fd, timeout_ms) && read(fd, line + length, 1) == 1 &&
           line[length] != '\n')
        length++;
    line[length] = '\0';
    return length;
}

void ask(struct report *report, int fd, int timeout_ms) {
    char line[64] = "";
    const int answered = send(fd, "x", 1, MSG_NOSIGNAL) == 1 && read_line(fd, line, sizeof line, timeout_ms) > 1;
    report_text(report, "reply", answered ? line : NULL);
    if (answered)
        report_number(report, "served_by", strtoull(line + 1, NULL, 10));
    else
        report_text(report, "served_by", NULL);
}
