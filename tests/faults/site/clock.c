/* A wall clock that can be moved: every process that preloads this adds the seconds that stand in the file CLOCK_OFFSET.
   The monotonic clock is left alone, as a real step of the wall clock leaves it alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    static volatile long *place;
    if (!place) {
        const char *name = getenv("CLOCK_OFFSET");
        int descriptor = name ? open(name, O_RDONLY) : -1;
        void *found = descriptor < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, descriptor, 0);
        if (descriptor >= 0) close(descriptor);
        if (found == MAP_FAILED) return 0;
        place = found;
    }
    return *place;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*plain)(clockid_t, struct timespec *);
    if (!plain) plain = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = plain(which, now);
    if (result == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *place) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (place) *place = found.tv_sec;
    return found.tv_sec;
}
