/* rp-handoff: what the library is, what it can do here, and what a handoff costs here. See rp-handoff(1). */
#include <getopt.h>
#include <rp_handoff.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"

static int complain(void) {
    fputs("usage: rp-handoff bench [--samples N]\n"
          "       rp-handoff platform\n"
          "       rp-handoff version\n",
          stderr);
    return 2;
}

static int bench(int argc, char **argv) {
    static const struct option options[] = {{"samples", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
    long samples = 1000;
    int option;
    opterr = 0; /* the usage says enough */
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        char *end;
        if (option != 's')
            return complain();
        samples = strtol(optarg, &end, 10);
        if (*end != '\0' || samples < 10 || samples > 20000)
            return complain();
    }
    return optind == argc ? run_bench((uint32_t)samples) : complain();
}

static int platform(void) {
    static const char *const exempt[] = {"unknown", "no", "yes"};
    rp_handoff_platform platform = {.struct_size = sizeof platform};
    if (rp_handoff_get_platform(&platform) != RP_HANDOFF_OK)
        return 1;
    printf("descriptor passing: %s\n", platform.descriptor_passing ? "yes" : "no");
    printf("exempt from the limit on descriptors in flight: %s\n", exempt[platform.in_flight_exempt]);
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 2 && strcmp(argv[1], "bench") == 0)
        return bench(argc - 1, argv + 1);
    if (argc == 2 && strcmp(argv[1], "platform") == 0)
        return platform();
    if (argc == 2 && strcmp(argv[1], "version") == 0) {
        printf("rp_handoff %s\n", rp_handoff_version_string());
        return 0;
    }
    return complain();
}
