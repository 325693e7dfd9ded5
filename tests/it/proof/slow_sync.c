/* Makes a disk slow: each sync takes SLOW_SYNC_MS milliseconds more, or 5 to 50 of them where that is not set, and is
 * counted by a byte in the file that SLOW_SYNC_COUNT names. While there is a file that SLOW_SYNC_HANGS names, none comes
 * back. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int slow(const char *name, int fd) {
    static unsigned int state = 1;
    const char *count = getenv("SLOW_SYNC_COUNT"), *ms = getenv("SLOW_SYNC_MS");
    int file = count ? open(count, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file >= 0) {
        if (write(file, ".", 1) != 1)
            abort();
        close(file);
    }
    const char *hangs = getenv("SLOW_SYNC_HANGS");
    while (hangs && access(hangs, F_OK) == 0)
        usleep(20000);
    usleep(ms ? 1000 * (useconds_t)atoi(ms) : 5000 + (useconds_t)(rand_r(&state) % 45001));
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return sync(fd);
}

int fsync(int fd) { return slow("fsync", fd); }
int fdatasync(int fd) { return slow("fdatasync", fd); }
