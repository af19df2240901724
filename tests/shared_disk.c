/* The disk of a cluster: below the folder SHARED_DISK nothing can be had that SHARED_DISK_LACKS
   names (flock, fcntl, mmap, tmpfile). "alone" lets flock and fcntl succeed without a lock; with
   "near" a flock reaches no further than a machine. SHARED_DISK_HOST is the machine's name.
   Preloaded by tests/shared_disk.py; Python and SQLite go through it alike. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int lacks(const char *what, const char *path)
{
    const char *folder = getenv("SHARED_DISK"), *list = getenv("SHARED_DISK_LACKS");
    return folder && list && strstr(list, what) && !strncmp(path, folder, strlen(folder));
}

static int fd_lacks(const char *what, int fd)
{
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return lacks(what, path);
}

static int refused(int number)
{
    errno = number;
    return -1;
}

int flock(int fd, int operation)
{
    if (fd_lacks("alone", fd))
        return 0;
    if (fd_lacks("near", fd)) {
        /* The lock of a file that each machine has for itself; it is kept until the process ends. */
        char link[64], path[4096], own[4400];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        snprintf(own, sizeof own, "%s-%s", path, getenv("SHARED_DISK_HOST"));
        fd = (int)syscall(SYS_openat, AT_FDCWD, own, O_RDWR | O_CREAT, 0666);
    }
    return fd_lacks("flock", fd) ? refused(ENOSYS) : (int)syscall(SYS_flock, fd, operation);
}

static int locked(int fd, int command, void *argument)
{
    int lock = command == F_SETLK || command == F_SETLKW || command == F_GETLK ||
               command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
    if (lock && fd_lacks("alone", fd)) {
        if (command == F_GETLK || command == F_OFD_GETLK)
            ((struct flock *)argument)->l_type = F_UNLCK;
        return 0;
    }
    if (lock && fd_lacks("fcntl", fd))
        return refused(ENOLCK);
    return (int)syscall(SYS_fcntl, fd, command, argument);
}

int fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    return locked(fd, command, argument);
}

int fcntl64(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    return locked(fd, command, argument);
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (flags & MAP_SHARED && fd >= 0 && fd_lacks("mmap", fd)) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    return mmap(at, length, protection, flags, fd, offset);
}

static int opened(const char *path, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE && lacks("tmpfile", path))
        return refused(EOPNOTSUPP);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opened(path, flags, mode);
}

int gethostname(char *name, size_t length)
{
    const char *host = getenv("SHARED_DISK_HOST");
    if (!host) {
        int (*usual)(char *, size_t) = dlsym(RTLD_NEXT, "gethostname");
        return usual(name, length);
    }
    snprintf(name, length, "%s", host);
    return 0;
}
