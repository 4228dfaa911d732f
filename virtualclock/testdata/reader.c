// What the tests drive readers/c/clockd.h with:
//
//     reader compare      from standard input: the first 512 bytes of a page, a counter reading; to standard output: what is made of it
//     reader watch PATH   to standard output: one reading after the other, until nobody reads them
//     reader open PATH    the reason why the page cannot be opened, or ok
#define _GNU_SOURCE 1
#define CLOCKD_VMCLOCK (getenv("CLOCKD_TEST_VMCLOCK") != NULL ? getenv("CLOCKD_TEST_VMCLOCK") : "/none") /* another file than the device */

#include <stdlib.h>

#include "clockd.h"

static void put(const clockd_reading *r) {
    // Fixed layout, 104 bytes: the Go side reads it with encoding/binary.
    struct {
        int64_t earliest, latest, time;
        uint32_t earliest_fraction, latest_fraction, time_fraction, epoch;
        uint64_t ticks, instance;
        uint8_t status, kind;
        char reason[38];
    } out = {r->earliest.ns, r->latest.ns, r->time.ns, r->earliest.fraction, r->latest.fraction, r->time.fraction, r->epoch, r->ticks,
             r->instance, r->status, r->kind, {0}};
    memcpy(out.reason, r->reason, strlen(r->reason));
    if (fwrite(&out, sizeof out, 1, stdout) != 1)
        exit(0);
}

int main(int argc, char **argv) {
    clockd_reading now;
    clockd_reader r;
    if (argc == 2 && strcmp(argv[1], "compare") == 0) {
        static uint64_t page[64];
        uint64_t ticks;
        while (fread(page, 512, 1, stdin) == 1 && fread(&ticks, 8, 1, stdin) == 1) {
            clockd__look((const unsigned char *)page, NULL, 0, &ticks, &now);
            put(&now);
            if (fflush(stdout) != 0)
                return 1;
        }
        return 0;
    }
    if (argc != 3 || (strcmp(argv[1], "watch") != 0 && strcmp(argv[1], "open") != 0))
        return 3;
    if (clockd_open(&r, argv[2]) != 0) {
        printf("%s\n", r.reason);
        fprintf(stderr, "%s\n", r.error);
        return 2;
    }
    if (strcmp(argv[1], "open") == 0) {
        puts("ok");
        clockd_close(&r);
        return 0;
    }
    for (;;) {
        clockd_now(&r, &now);
        put(&now);
    }
}
