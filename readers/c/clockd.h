/*
 * clockd.h reads the clock that a clockd on this host keeps, from its shared page (docs/page.md, version 1). Header only, C99 or C++,
 * gcc or clang, 64-bit Linux. Licence: as clockd.
 *
 *     clockd_reader r;
 *     clockd_reading now;
 *     if (clockd_open(&r, CLOCKD_DEFAULT_PAGE) != 0) { fprintf(stderr, "%s\n", r.error); ... }
 *     clockd_now(&r, &now);
 *     if (clockd_sound(&now)) { true time was in [now.earliest, now.latest] during that call }
 *     else                    { nothing is known, and now.reason says why }
 *     clockd_close(&r);
 *
 * A reading takes no lock and no memory, and no system call where the page's counter is the CPU's. One clockd_reader is for one thread
 * at a time. A restarted daemon is found by the reader itself: most go on in the same file; if the file was replaced, the first void
 * reading, and then one in 100 ms, looks whether there is another.
 *
 * Include it first, or compile with -std=gnu99 or later: it needs POSIX declarations. It refuses a page whose counter it cannot read
 * just as clockd's own reader does, such as skewed(...), a simulated counter of tests and demonstrations.
 */
#ifndef CLOCKD_H
#define CLOCKD_H

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if !defined(__LP64__)
#error "clockd.h needs a 64-bit machine: a word of the page must be one atomic load"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CLOCKD_DEFAULT_PAGE "/run/clockd/page"
#ifndef CLOCKD_VMCLOCK
#define CLOCKD_VMCLOCK "/dev/vmclock0"
#endif

/* What a reading is worth. The last two are sound. */
enum clockd_status {
    CLOCKD_UNSYNCHRONISED = 0,
    CLOCKD_DISRUPTED = 1, /* the counter or the host was disrupted; what was read before may have been wrong */
    CLOCKD_HOLDOVER = 2,  /* no fresh sample; the interval holds and grows */
    CLOCKD_SYNCHRONISED = 3
};

/* What an interval bounds. */
enum clockd_kind {
    CLOCKD_EXTERNAL = 0, /* true time (UTC) was in it */
    CLOCKD_INTERNAL = 1  /* it says nothing of true time, but those of all correct members of the group have a point in common */
};

/* Nanoseconds since 1970-01-01 UTC, leap seconds not counted, and a fraction in units of 2^-32 ns. */
typedef struct clockd_time {
    int64_t ns;
    uint32_t fraction;
} clockd_time;

/* One reading of the clock. If it is not sound, earliest and latest are the ends of the timeline. */
typedef struct clockd_reading {
    clockd_time earliest, latest; /* rounded down, rounded up */
    clockd_time time;             /* the virtual clock: for people and logs; worth something only if the reading is sound */
    uint64_t ticks;               /* the counter when it was read; 0 if it was not */
    uint64_t instance;            /* which run of the daemon wrote; 0 if nothing could be read */
    uint32_t epoch;               /* counts the steps of the clock; within one epoch it never goes back */
    uint8_t status;               /* enum clockd_status */
    uint8_t kind;                 /* enum clockd_kind */
    char reason[33];              /* why the status is not synchronised, by its stable name; "ok" if it is */
} clockd_reading;

typedef struct clockd_reader {
    const unsigned char *page; /* NULL: closed */
    uint64_t counter;          /* the page's kind: 1 TSC, 2 CNTVCT_EL0, 3 CLOCK_MONOTONIC_RAW */
    const unsigned char *vmclock; /* the hypervisor's page, NULL if there is none that this program may read */
    uint64_t looked;           /* CLOCK_MONOTONIC in ns when the path was looked at last; 0: never */
    dev_t device;
    ino_t inode;
    const char *reason; /* of the last failure to open; "ok" if there was none */
    char error[256];    /* the same as a sentence */
    char path[1024];
} clockd_reader;

/* Sound: true time was in the interval (if its kind is EXTERNAL). */
static inline int clockd_sound(const clockd_reading *r) {
    return r->status == CLOCKD_HOLDOVER || r->status == CLOCKD_SYNCHRONISED;
}

/* Less than, equal to or more than 0, as a is before, at or after b. */
static inline int clockd_compare(clockd_time a, clockd_time b) {
    if (a.ns != b.ns)
        return a.ns < b.ns ? -1 : 1;
    return a.fraction < b.fraction ? -1 : a.fraction > b.fraction;
}

/* t has certainly passed: it was before earliest. Not "after(t)" does not mean "before(t)". */
static inline int clockd_after(const clockd_reading *r, clockd_time t) {
    return clockd_sound(r) && clockd_compare(r->earliest, t) > 0;
}

/* t had certainly not come yet when the counter was read. */
static inline int clockd_before(const clockd_reading *r, clockd_time t) {
    return clockd_sound(r) && clockd_compare(r->latest, t) < 0;
}

/* ---- From here on: how it is done. ---- */

/* One aligned, atomic load of 8 little-endian bytes; nothing after it is done before it. */
static inline uint64_t clockd__word(const unsigned char *page, int offset) {
    uint64_t v = __atomic_load_n((const uint64_t *)(const void *)(page + offset), __ATOMIC_ACQUIRE);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint64_t clockd__clock(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        return 0; /* every check against going backwards sees it */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#ifndef CLOCK_MONOTONIC_RAW
#define CLOCK_MONOTONIC_RAW 4
#endif

/* Reads the counter after everything that is before it in the program, and before everything that is after it. */
static inline uint64_t clockd__ticks(uint64_t kind) {
#if defined(__x86_64__)
    if (kind == 1) {
        uint32_t low, high;
        __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
        return (uint64_t)high << 32 | low;
    }
#elif defined(__aarch64__)
    if (kind == 2) {
        uint64_t c;
        __asm__ volatile("dsb ishld\n\tisb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(c) : : "memory");
        return c;
    }
#endif
    (void)kind;
    return clockd__clock(CLOCK_MONOTONIC_RAW);
}

/* n ticks of a period (in 2^-48 ns): whole nanoseconds and a fraction, rounded up or down; all ones if longer than any timeline. */
static inline void clockd__length(uint64_t n, uint64_t period, int up, uint64_t *ns, uint32_t *fraction) {
    uint64_t high, low;
#if defined(__SIZEOF_INT128__) && !defined(CLOCKD_NO_INT128)
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)n * period;
    high = (uint64_t)(product >> 64);
    low = (uint64_t)product;
#else
    uint64_t a = n >> 32, b = n & 0xffffffffu, c = period >> 32, d = period & 0xffffffffu;
    uint64_t middle = a * d + (b * d >> 32), other = b * c + (middle & 0xffffffffu);
    high = a * c + (middle >> 32) + (other >> 32);
    low = other << 32 | (b * d & 0xffffffffu);
#endif
    if (up) {
        low += 0xffff;
        high += low < 0xffff;
    }
    if (high >> 48) {
        *ns = UINT64_MAX;
        *fraction = UINT32_MAX;
        return;
    }
    *ns = high << 16 | low >> 48;
    *fraction = (uint32_t)(low >> 16);
}

static const clockd_time clockd__first = {INT64_MIN, 0}, clockd__last = {INT64_MAX, UINT32_MAX};

/* A signed number of those bits, without the conversion that C leaves to the compiler. */
static inline int64_t clockd__signed(uint64_t v) {
    int64_t s;
    memcpy(&s, &v, sizeof s);
    return s;
}

/* t + n ticks; saturated at the end of the timeline. */
static inline clockd_time clockd__plus(clockd_time t, uint64_t n, uint64_t period, int up) {
    uint64_t ns, f;
    uint32_t fraction;
    clockd__length(n, period, up, &ns, &fraction);
    f = (uint64_t)t.fraction + fraction;
    if (ns + (f >> 32) < ns || ns + (f >> 32) > (uint64_t)INT64_MAX - (uint64_t)t.ns)
        return clockd__last;
    t.ns = clockd__signed((uint64_t)t.ns + ns + (f >> 32));
    t.fraction = (uint32_t)f;
    return t;
}

/* t - n ticks; the length is rounded up or down. */
static inline clockd_time clockd__minus(clockd_time t, uint64_t n, uint64_t period, int up) {
    uint64_t ns, borrow;
    uint32_t fraction;
    clockd__length(n, period, up, &ns, &fraction);
    borrow = t.fraction < fraction;
    if (ns + borrow < ns || ns + borrow > (uint64_t)t.ns - ((uint64_t)1 << 63))
        return clockd__first;
    t.ns = clockd__signed((uint64_t)t.ns - ns - borrow);
    t.fraction -= fraction;
    return t;
}

static inline int clockd__earlier(uint64_t a, uint64_t b) { return (a - b) >> 63 != 0; }

static inline void clockd__because(clockd_reading *r, const char *reason) {
    size_t n = strlen(reason);
    if (n >= sizeof r->reason)
        n = sizeof r->reason - 1;
    memcpy(r->reason, reason, n);
    r->reason[n] = 0;
}

/* A reading that says nothing. */
static inline void clockd__void(clockd_reading *r, int status, uint32_t epoch, const char *reason) {
    r->earliest = clockd__first;
    r->latest = clockd__last;
    r->epoch = epoch;
    r->status = (uint8_t)status;
    r->kind = CLOCKD_EXTERNAL;
    clockd__because(r, reason);
}

/* The changing part of a page, copied while it did not change. */
typedef struct clockd__content {
    uint64_t word[23]; /* the words from offset 72 on */
    uint64_t reason[4], marked, marker;
} clockd__content;

enum { /* indexes into clockd__content.word */
    CLOCKD__NOT_BEFORE = 0, CLOCKD__STALE_AFTER, CLOCKD__VOID_AFTER, CLOCKD__AT, CLOCKD__EARLIEST, CLOCKD__LATEST, CLOCKD__FRACTIONS,
    CLOCKD__SLOW, CLOCKD__FAST, CLOCKD__META, CLOCKD__SLEW_END, CLOCKD__SLEW_C0, CLOCKD__SLEW_T0, CLOCKD__SLEW_PERIOD,
    CLOCKD__STEADY_C0, CLOCKD__STEADY_T0, CLOCKD__STEADY_PERIOD, CLOCKD__LINE_FRACTIONS, CLOCKD__DIFFERENCE, CLOCKD__HERTZ,
    CLOCKD__HERTZ_ERROR, CLOCKD__PUBLISHED, CLOCKD__INSTANCE, CLOCKD__WORDS
};

/* The writer's reason if it gave one that looks like a name, else the most harmless one that fits. */
static inline void clockd__writer_reason(const clockd__content *k, int status, clockd_reading *r) {
    char name[33];
    int i, good;
    for (i = 0; i < 32; i++)
        name[i] = (char)(k->reason[i / 8] >> (8 * (i % 8)));
    name[32] = 0;
    good = (k->word[CLOCKD__META] >> 40 & 0xff) != 0 && name[0] != 0;
    for (i = 0; good && name[i] != 0; i++)
        good = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '_';
    clockd__because(r, good && strcmp(name, "ok") != 0 ? name : status == CLOCKD_HOLDOVER ? "stale" : "never_synchronised");
}

/* The virtual clock at reading c. */
static inline clockd_time clockd__virtual(const clockd__content *k, uint64_t c) {
    const uint64_t *w = k->word;
    int slew = clockd__earlier(c, w[CLOCKD__SLEW_END]), line = slew ? CLOCKD__SLEW_C0 : CLOCKD__STEADY_C0;
    clockd_time t;
    t.ns = clockd__signed(w[line + 1]);
    t.fraction = (uint32_t)(w[CLOCKD__LINE_FRACTIONS] >> (slew ? 0 : 32));
    if (w[line + 2] == 0)
        return clockd__first;
    if (clockd__earlier(c, w[line]))
        return clockd__minus(t, w[line] - c, w[line + 2], 0);
    return clockd__plus(t, c - w[line], w[line + 2], 0);
}

/* What the content says at reading c; docs/page.md, "How to read it". */
static inline void clockd__judge(const clockd__content *k, uint64_t c, clockd_reading *r) {
    const uint64_t *w = k->word;
    uint32_t epoch = (uint32_t)w[CLOCKD__META];
    int status = (int)(w[CLOCKD__META] >> 32 & 0xff), late = 0;
    clockd_time early, latest;
    r->ticks = c;
    r->instance = w[CLOCKD__INSTANCE];
    if (status > CLOCKD_SYNCHRONISED)
        status = CLOCKD_UNSYNCHRONISED;
    if (clockd__earlier(c, w[CLOCKD__NOT_BEFORE])) { /* the counter was reset */
        r->time = clockd__first;
        clockd__void(r, CLOCKD_DISRUPTED, epoch, "counter_backwards");
        return;
    }
    r->time = clockd__virtual(k, c);
    if (status != CLOCKD_SYNCHRONISED && status != CLOCKD_HOLDOVER) {
        clockd__void(r, status, epoch, "");
        clockd__writer_reason(k, status, r);
        return;
    }
    if (clockd__earlier(w[CLOCKD__VOID_AFTER], c)) {
        clockd__void(r, CLOCKD_UNSYNCHRONISED, epoch, "page_void");
        return;
    }
    if (status == CLOCKD_SYNCHRONISED && clockd__earlier(w[CLOCKD__STALE_AFTER], c)) {
        status = CLOCKD_HOLDOVER;
        late = 1;
    }
    early.ns = clockd__signed(w[CLOCKD__EARLIEST]);
    early.fraction = (uint32_t)w[CLOCKD__FRACTIONS];
    latest.ns = clockd__signed(w[CLOCKD__LATEST]);
    latest.fraction = (uint32_t)(w[CLOCKD__FRACTIONS] >> 32);
    if (clockd__earlier(c, w[CLOCKD__AT])) {
        early = clockd__minus(early, w[CLOCKD__AT] - c, w[CLOCKD__FAST], 1);
        latest = clockd__minus(latest, w[CLOCKD__AT] - c, w[CLOCKD__SLOW], 0);
    } else {
        early = clockd__plus(early, c - w[CLOCKD__AT], w[CLOCKD__SLOW], 0);
        latest = clockd__plus(latest, c - w[CLOCKD__AT], w[CLOCKD__FAST], 1);
    }
    if (clockd_compare(latest, early) < 0) {
        clockd__void(r, CLOCKD_UNSYNCHRONISED, epoch, "contradiction");
        return;
    }
    r->earliest = early;
    r->latest = latest;
    r->epoch = epoch;
    r->status = (uint8_t)status;
    r->kind = (uint8_t)(w[CLOCKD__META] >> 48);
    if (status == CLOCKD_SYNCHRONISED)
        clockd__because(r, "ok");
    else if (late)
        clockd__because(r, "stale");
    else
        clockd__writer_reason(k, status, r);
}

/* How often a reader tries while a writer is at work, which takes well below 1 us: spinning; then letting others run; then sleeping. */
enum { CLOCKD__SPINS = 2000, CLOCKD__YIELDS = 20, CLOCKD__NAPS = 30, CLOCKD__NAP_NS = 200000 };

/* Reads a page once. vmclock may be NULL. ticks, if not NULL, is taken for the counter's reading: for tests. */
static inline void clockd__look(const unsigned char *page, const unsigned char *vmclock, uint64_t kind, const uint64_t *ticks,
                                clockd_reading *r) {
    clockd__content k;
    const char *why = "page_torn"; /* the daemon died while it wrote */
    int attempt, i;
    for (attempt = 0; attempt < CLOCKD__SPINS + CLOCKD__YIELDS + CLOCKD__NAPS; attempt++) {
        uint64_t sequence = clockd__word(page, 64);
        if (sequence == UINT64_MAX) {
            why = "page_retired";
            break;
        }
        if ((sequence & 1) == 0) {
            /* After the sequence, so that it is not older than the publication; before it is seen unchanged, so that no
             * publication at an earlier reading was missed. */
            uint64_t c = ticks != NULL ? *ticks : clockd__ticks(kind);
            for (i = 0; i < CLOCKD__WORDS; i++)
                k.word[i] = clockd__word(page, 72 + 8 * i);
            for (i = 0; i < 4; i++)
                k.reason[i] = clockd__word(page, 256 + 8 * i);
            k.marked = clockd__word(page, 288);
            k.marker = clockd__word(page, 296);
            if (clockd__word(page, 64) == sequence) {
                clockd__judge(&k, c, r);
                /* Read after the counter: a migration of the virtual machine before that shows, unless the daemon has dealt with it. */
                if (vmclock != NULL && k.marked == 1 && clockd__word(vmclock, 16) != k.marker) {
                    r->time = clockd__first;
                    clockd__void(r, CLOCKD_DISRUPTED, r->epoch, "host_paused");
                }
                return;
            }
        }
        if (attempt >= CLOCKD__SPINS + CLOCKD__YIELDS) {
            struct timespec nap = {0, CLOCKD__NAP_NS};
            nanosleep(&nap, NULL);
        } else if (attempt >= CLOCKD__SPINS) {
            sched_yield();
        }
    }
    r->ticks = r->instance = 0;
    r->time = clockd__first;
    clockd__void(r, CLOCKD_UNSYNCHRONISED, 0, why);
}

static inline int clockd__fail(clockd_reader *r, const char *reason, const char *what) {
    r->reason = reason;
    snprintf(r->error, sizeof r->error, "clockd page %.100s: %s", r->path, what);
    return -1;
}

/* The 16 bytes of the running kernel's boot. */
static inline int clockd__boot(unsigned char boot[16]) {
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC), n = 0, i;
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    memset(boot, 0, 16);
    for (i = 0; i < length && text[i] != '\n'; i++) {
        int digit;
        if (text[i] == '-')
            continue;
        if (text[i] >= '0' && text[i] <= '9')
            digit = text[i] - '0';
        else if (text[i] >= 'a' && text[i] <= 'f')
            digit = text[i] - 'a' + 10;
        else
            return -1;
        if (n == 32)
            return -1;
        boot[n / 2] = (unsigned char)(boot[n / 2] << 4 | digit);
        n++;
    }
    return n == 32 ? 0 : -1;
}

/* spec begins with name, and ends there or has settings in brackets. */
static inline int clockd__named(const char *spec, const char *name) {
    size_t n = strlen(name);
    return strncmp(spec, name, n) == 0 && (spec[n] == 0 || spec[n] == '(');
}

/* Checks that this program reads the counter that the page is made for. */
static inline int clockd__counter(clockd_reader *r, const char *spec, uint64_t kind) {
    static const char name[] = "monotonic_raw";
    char wanted[64], here[64], inode[32], end[2];
    int length = 0;
    ssize_t n;
#if defined(__x86_64__)
    if (kind == 1 && clockd__named(spec, "tsc"))
        return 0;
#elif defined(__aarch64__)
    if (kind == 2 && clockd__named(spec, "cntvct"))
        return 0;
#endif
    if (kind != 3 || !clockd__named(spec, name))
        return clockd__fail(r, "page_counter", "it is made for a counter that this program cannot read (skewed(...) is for clockd's own programs)");
    if (spec[sizeof name - 1] == 0)
        return 0;
    /* The clock has an offset of its own in each time namespace. */
    if (sscanf(spec, "monotonic_raw(timens=%20[0-9]%1[)]%n", inode, end, &length) != 2 || spec[length] != 0)
        return clockd__fail(r, "page_counter", "its counter's settings are not understood");
    snprintf(wanted, sizeof wanted, "time:[%s]", inode);
    n = readlink("/proc/self/ns/time", here, sizeof here - 1);
    here[n < 0 ? 0 : n] = 0;
    if (strcmp(wanted, here) != 0)
        return clockd__fail(r, "page_counter", "it is made for another time namespace, where CLOCK_MONOTONIC_RAW reads differently; run both in the same one");
    return 0;
}

/* Checks what never changes in a page. */
static inline int clockd__header(clockd_reader *r, const unsigned char *page) {
    unsigned char boot[16];
    char spec[2049];
    uint64_t version = clockd__word(page, 8), length = clockd__word(page, 40);
    if (memcmp(page, "CLOCKDPG", 8) != 0)
        return clockd__fail(r, "page_magic", "it is not a clockd page");
    if ((uint32_t)version != 1)
        return clockd__fail(r, "page_version", "it has a version that this program does not know");
    if (version >> 32 != 4096 || length == 0 || length > 2048)
        return clockd__fail(r, "page_size", "it gives itself another size");
    if (clockd__boot(boot) != 0)
        return clockd__fail(r, "page_void", "the kernel's boot cannot be identified; is /proc mounted?");
    if (memcmp(boot, page + 24, 16) != 0)
        return clockd__fail(r, "page_void", "it was left by a daemon that ran before this host's last boot; start clockd");
    memcpy(spec, page + 512, (size_t)length);
    spec[length] = 0;
    return clockd__counter(r, spec, clockd__word(page, 16));
}

/* Maps the page by which a hypervisor tells of migrations. Most hosts have none, and some let only root look. */
static inline const unsigned char *clockd__vmclock(void) {
    struct stat info;
    uint64_t head[2];
    void *page = MAP_FAILED;
    int fd = open(CLOCKD_VMCLOCK, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &info) == 0 && (!S_ISREG(info.st_mode) || info.st_size >= 24))
        page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        return NULL;
    head[0] = clockd__word((const unsigned char *)page, 0);
    head[1] = clockd__word((const unsigned char *)page, 8);
    /* "VCLK", size, version 1 */
    if ((uint32_t)head[0] == 0x4b4c4356 && head[0] >> 32 >= 24 && head[0] >> 32 <= 65536 && (head[1] & 0xffff) == 1)
        return (const unsigned char *)page;
    munmap(page, 4096);
    return NULL;
}

/* Opens what is at r->path now. If that fails r goes on with what it had. */
static inline int clockd__reopen(clockd_reader *r) {
    struct stat info;
    void *page;
    int fd;
    r->reason = "ok";
    r->error[0] = 0;
    if ((fd = open(r->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) < 0)
        return clockd__fail(r, "page_missing", strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return clockd__fail(r, "page_magic", "it is not a regular file");
    }
    if (info.st_size != 4096) {
        close(fd);
        return clockd__fail(r, "page_size", "it does not have 4096 bytes");
    }
    page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        return clockd__fail(r, "page_missing", strerror(errno));
    if (clockd__header(r, (const unsigned char *)page) != 0) {
        munmap(page, 4096);
        return -1;
    }
    if (r->page != NULL)
        munmap((void *)(uintptr_t)r->page, 4096);
    r->page = (const unsigned char *)page;
    if (r->vmclock == NULL)
        r->vmclock = clockd__vmclock();
    r->counter = clockd__word(r->page, 16);
    r->device = info.st_dev;
    r->inode = info.st_ino;
    return 0;
}

/* Opens a page. 0, or -1: r->reason and r->error say why. That the page is void at the moment is no error. */
static inline int clockd_open(clockd_reader *r, const char *path) {
    memset(r, 0, sizeof *r);
    if (strlen(path) >= sizeof r->path)
        return clockd__fail(r, "page_missing", "the path is too long");
    strcpy(r->path, path);
    return clockd__reopen(r);
}

static inline void clockd_close(clockd_reader *r) {
    if (r->page != NULL)
        munmap((void *)(uintptr_t)r->page, 4096);
    if (r->vmclock != NULL)
        munmap((void *)(uintptr_t)r->vmclock, 4096);
    r->page = r->vmclock = NULL;
}

/* Looks, at most once in 100 ms, whether there is another file at the path, and opens it; 1 if so. */
static inline int clockd__follow(clockd_reader *r) {
    struct stat info;
    uint64_t now = clockd__clock(CLOCK_MONOTONIC);
    if (r->looked != 0 && now - r->looked < 100000000u)
        return 0;
    r->looked = now | 1;
    if (stat(r->path, &info) != 0 || (info.st_dev == r->device && info.st_ino == r->inode))
        return 0;
    return clockd__reopen(r) == 0;
}

/* Reads the clock. Errors show as a reading that is not sound, with its reason. */
static inline void clockd_now(clockd_reader *r, clockd_reading *reading) {
    if (r->page == NULL) {
        reading->ticks = reading->instance = 0;
        reading->time = clockd__first;
        clockd__void(reading, CLOCKD_UNSYNCHRONISED, 0, "page_missing");
        return;
    }
    clockd__look(r->page, r->vmclock, r->counter, NULL, reading);
    if (!clockd_sound(reading) && clockd__follow(r))
        clockd__look(r->page, r->vmclock, r->counter, NULL, reading);
}

#ifdef __cplusplus
}
#endif

#endif
