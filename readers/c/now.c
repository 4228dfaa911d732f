/*
 * Prints the interval in which true time is, from the page of the clockd on this host.
 *
 *     cc -O2 -o now now.c && ./now [page]
 *
 * Ends with 0 if something is known, 1 if not, 2 if there is no page that can be read.
 */
#include "clockd.h"

#include <inttypes.h>

static const char *const statuses[] = {"unsynchronised", "disrupted", "holdover", "synchronised"};

static void print_time(const char *what, clockd_time t) {
    /* The page's times reach from 1677 to 2262: seconds rounded down, so that the rest is positive. */
    int64_t rest = t.ns % 1000000000;
    time_t seconds = (time_t)(t.ns / 1000000000 - (rest < 0));
    struct tm utc;
    char text[32];
    if (gmtime_r(&seconds, &utc) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc) == 0)
        return;
    printf("%-8s %s.%09" PRId64 "Z\n", what, text, rest + (rest < 0 ? 1000000000 : 0));
}

int main(int argc, char **argv) {
    clockd_reader r;
    clockd_reading now;
    if (clockd_open(&r, argc > 1 ? argv[1] : CLOCKD_DEFAULT_PAGE) != 0) {
        fprintf(stderr, "now: %s (%s)\n", r.error, r.reason);
        return 2;
    }
    clockd_now(&r, &now);
    clockd_close(&r);
    printf("status   %s (%s)\n", statuses[now.status], now.reason);
    if (!clockd_sound(&now))
        return 1;
    if (now.kind == CLOCKD_INTERNAL)
        printf("kind     INTERNAL: the time of a group, not UTC\n");
    print_time("earliest", now.earliest);
    print_time("latest", now.latest);
    printf("width    %.3f us\n", (double)((uint64_t)now.latest.ns - (uint64_t)now.earliest.ns + 1) / 1e3);
    printf("epoch    %" PRIu32 "\n", now.epoch);
    return 0;
}
