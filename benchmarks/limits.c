/* The machine's own limits, for benchmarks/process.py: two processes that do nothing but signal each other, and memcpy.
 *
 *     limits SECONDS
 *
 * Prints one JSON object: seconds per round trip or per copy, of each short slice. */

#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define relax() __builtin_ia32_pause()
#elif defined(__aarch64__) || defined(__arm__)
#define relax() __asm__ __volatile__("yield")
#else
#define relax() __asm__ __volatile__("")
#endif

struct line {
    _Alignas(128) atomic_uint word;
};

static struct line *lines;
static int bells[2];
static char *from, *to;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

/* Waits for a word to have this value, and lets another process run should the peer have no processor. */
static void await(struct line *line, unsigned value) {
    for (unsigned looks = 1; atomic_load_explicit(&line->word, memory_order_acquire) != value; looks++) {
        relax();
        if (looks % 4096 == 0)
            sched_yield();
    }
}

static void line_trips(unsigned count, size_t size) {
    static unsigned sent;
    (void)size;
    while (count--) {
        atomic_store_explicit(&lines[0].word, ++sent, memory_order_release);
        await(&lines[1], sent);
    }
}

static void line_peer(void) {
    for (unsigned next = 1;; next++) {
        await(&lines[0], next);
        atomic_store_explicit(&lines[1].word, next, memory_order_release);
    }
}

static void ring(int bell) {
    uint64_t one = 1;
    if (write(bell, &one, sizeof one) != sizeof one)
        exit(1);
}

static void hear(int bell) {
    uint64_t count;
    if (read(bell, &count, sizeof count) != sizeof count)
        exit(1);
}

static void bell_trips(unsigned count, size_t size) {
    (void)size;
    while (count--) {
        ring(bells[0]);
        hear(bells[1]);
    }
}

static void bell_peer(void) {
    for (;;) {
        hear(bells[0]);
        ring(bells[1]);
    }
}

static void copies(unsigned count, size_t size) {
    while (count--) {
        memcpy(to, from, size);
        __asm__ __volatile__("" ::"r"(to) : "memory");
    }
}

/* Keeps this process on one of the first two processors that it may use. */
static void stay_on(int place) {
    cpu_set_t usable, one;
    sched_getaffinity(0, sizeof usable, &usable);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &usable) && place-- == 0)
            CPU_SET(cpu, &one);
    if (CPU_COUNT(&one) == 1)
        sched_setaffinity(0, sizeof one, &one);
}

/* Prints the slices of one exercise; a slice is short enough to lie within one turn of the scheduler, often. */
static void measure(const char *name, void (*step)(unsigned, size_t), void (*peer)(void), size_t size, double seconds) {
    pid_t child = 0;
    if (peer != NULL && (child = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (peer == line_peer)
            stay_on(1);
        peer();
    }
    cpu_set_t before;
    sched_getaffinity(0, sizeof before, &before);
    if (peer == line_peer)
        stay_on(0);
    unsigned count = 16;
    for (;;) {
        double start = now();
        step(count, size);
        if (now() - start > 0.001)
            break;
        count *= 2;
    }
    printf("\"%s\": [", name);
    const char *comma = "";
    for (double end = now() + seconds; now() < end; comma = ", ") {
        double start = now();
        step(count, size);
        printf("%s%.4g", comma, (now() - start) / count);
    }
    printf("]");
    sched_setaffinity(0, sizeof before, &before);
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1.0;
    lines = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bells[0] = eventfd(0, 0);
    bells[1] = eventfd(0, 0);
    from = malloc(65536);
    to = malloc(65536);
    if (lines == MAP_FAILED || bells[0] < 0 || bells[1] < 0 || from == NULL || to == NULL)
        return 1;
    memset(from, 1, 65536);
    memset(to, 2, 65536);
    printf("{");
    measure("line", line_trips, line_peer, 0, seconds);
    printf(", ");
    fflush(stdout); /* or the child of the next would have it too */
    measure("bell", bell_trips, bell_peer, 0, seconds);
    printf(", ");
    measure("memcpy-496", copies, NULL, 496, seconds / 4);
    printf(", ");
    measure("memcpy-65520", copies, NULL, 65520, seconds / 4);
    printf("}\n");
    return 0;
}
