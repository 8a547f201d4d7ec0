/* The compiler wrapper's short way: run the compiler, have nopfix-serve rewrite the object.

   The problem: the wrapper in Python (wrapper.py) costs an interpreter's start for each object,
   which with nopfix-serve is half of all that nopfix costs a build.  The rule: what is ordinary, one
   C source, -c and -o, is done here in the same way; whatever else the arguments, the environment
   or the server say is handed to Python: before the compiler has run to the script that stands in
   for it (PYTHON_SCRIPT), afterwards to client.py.  What counts as what is said once, in
   compiler_arguments.py and request.py; nopfix-toolchain writes it into tables.h, together with

     INTERPRETER    Python's absolute path, CLIENT_PY that of client.py
     PACKAGES       what client.py puts onto its path
     NOPFIX         what server and client have to have in common (request.nopfix)
     SCRIPTS        the folder of the scripts, from this program's own folder

   and links COMPILER, the compiler's absolute path, to what comes of this file.

   Signals that end the build are blocked from the end of the compiler on, and looked for where this
   program waits; client.py takes them over blocked.

   Source: as for wrapper.py, and unix(7). */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tables.h"

#define COMMAND_NOT_FOUND 127
#ifndef LONGEST_REWRITE
#define LONGEST_REWRITE 600 /* seconds: then this side takes the request back */
#endif
#define LONGEST_CONNECT 10
#define LETTING_GO 500 /* milliseconds that the other side may take to drop what it does */

extern char **environ;
extern const char COMPILER[];

static const int ENDING[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
#define COUNT(table) (sizeof(table) / sizeof *(table))

static volatile pid_t child;
static volatile sig_atomic_t received;

static void pass_on(int number) {
  received = number;
  if (child) kill(child, number);
}

static void complain(const char *what, const char *why) {
  fprintf(stderr, "nopfix: %s: %s\n", what, why);
}

static int is_in(const char *word, const char *const *table) {
  for (; *table; table++)
    if (!strcmp(word, *table)) return 1;
  return 0;
}

static int begins_in(const char *word, const char *const *table) {
  for (; *table; table++)
    if (!strncmp(word, *table, strlen(*table))) return 1;
  return 0;
}

static const char *suffix(const char *path) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  const char *dot = strrchr(name, '.');
  return dot && dot != name ? dot : "";
}

/* -- what else there is ------------------------------------------------------------------------ */

static int become(const char *program, char **arguments) {
  execvp(program, arguments);
  complain(program, strerror(errno));
  return COMMAND_NOT_FOUND;
}

/* The script that stands in for this program, with its arguments. */
static int python(char **arguments) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof SCRIPTS - 256);
  char *name = length > 0 ? memrchr(path, '/', length) : 0;
  if (!name) return become(COMPILER, arguments);
  path[length] = 0;
  char own[256];
  snprintf(own, sizeof own, "%s", name + 1);
  sprintf(name, "/" SCRIPTS "/%s", own);
  return become(path, arguments);
}

/* client.py goes on: "rewrite STATUS OBJECT", "missing STATUS OBJECT" or "say STATUS TEXT". */
static int go_on(const char *what, int status, const char *with) {
  char number[16];
  snprintf(number, sizeof number, "%d", status);
  char *arguments[] = {INTERPRETER, "-IS", CLIENT_PY, PACKAGES, (char *)what, number, (char *)with, 0};
  return become(INTERPRETER, arguments);
}

static int die(int number) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, number);
  signal(number, SIG_DFL);
  raise(number);
  sigprocmask(SIG_UNBLOCK, &mask, 0);
  return 128 + number;
}

static int interrupted(const char *object, int is_written) {
  char path[PATH_MAX];
  struct stat status;
  if (is_written && realpath(object, path) && !stat(path, &status) && S_ISREG(status.st_mode) &&
      unlink(path))
    complain(path, strerror(errno));
  return die(received);
}

/* -- the arguments ----------------------------------------------------------------------------- */

struct plan {
  enum { PYTHON, NO_OBJECT_COMES, OBJECT_COMES } what;
  const char *object;
  int is_probe;
};

/* What the compiler will make, as compiler_arguments.plan has it, or PYTHON where that is needed. */
static struct plan plan(int count, char **arguments) {
  const char *object = 0, *source = 0, *language = 0;
  int compiles = 0, sources = 0, none = 0;
  struct plan odd = {PYTHON, 0, 0}, without = {NO_OBJECT_COMES, 0, 0};
  for (int at = 1; at < count; at++) {
    const char *word = arguments[at];
    if (begins_in(word, ODD) || !strcmp(word, "--")) return odd;
    if (is_in(word, NO_OBJECT) || begins_in(word, QUESTIONS)) none = 1;
    else if (!strcmp(word, "-o")) object = arguments[++at];
    else if (!strcmp(word, "-x")) language = arguments[++at];
    else if (is_in(word, SEPARATE)) at++;
    else if (!strcmp(word, "-c")) compiles = 1;
    else if (!strncmp(word, "-o", 2) || !strncmp(word, "-x", 2) || !strcmp(word, "-")) return odd;
    else if (word[0] != '-') source = word, sources++;
    if (at >= count) return odd;
  }
  if (none) return without;
  if (!compiles || sources != 1 || !object || !strcmp(object, "-")) return odd;
  if (!language && is_in(suffix(source), ASSEMBLY_SUFFIXES)) return without;
  if (language ? strcmp(language, "c") : !is_in(suffix(source), C_SUFFIXES)) return odd;
  return (struct plan){OBJECT_COMES, object, !strcmp(source, "/dev/null")};
}

/* -- the object -------------------------------------------------------------------------------- */

static unsigned long number(const unsigned char *data, int size) {
  unsigned long value = 0;
  while (size--) value = value << 8 | data[size];
  return value;
}

/* wrapper._may_have_code */
static int may_have_code(const char *path) {
  struct stat status;
  if (stat(path, &status)) return 1;
  if (!S_ISREG(status.st_mode)) return !!strcmp(path, "/dev/null");
  unsigned long size = status.st_size;
  int file = open(path, O_RDONLY | O_CLOEXEC), found = 1;
  const unsigned char *data = MAP_FAILED;
  if (file >= 0 && size >= 64) data = mmap(0, size, PROT_READ, MAP_PRIVATE, file, 0);
  if (file >= 0) close(file);
  if (data == MAP_FAILED) return 1;
  unsigned long table = number(data + 0x28, 8), width = number(data + 0x3a, 2);
  unsigned long count = number(data + 0x3c, 2);
  if (!memcmp(data, "\x7f" "ELF\x02\x01", 6) && !memmem(data, size, "\0.gnu.lto_", 10) &&
      !memmem(data, size, "\0.llvm.lto", 11) && count && width >= 64 && table <= size &&
      count * width <= size - table) {
    found = 0;
    for (const unsigned char *at = data + table; count--; at += width)
      found |= number(at + 8, 8) & 4 && number(at + 32, 8);
  }
  munmap((void *)data, size);
  return found;
}

static int same_time(struct timespec one, struct timespec other) {
  return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

/* wrapper._is_written */
static int is_written(const char *path, int was_there, const struct stat *before, int status) {
  struct stat now;
  if (stat(path, &now)) return 0;
  int as_before = was_there && now.st_dev == before->st_dev && now.st_ino == before->st_ino &&
                  now.st_size == before->st_size && same_time(now.st_mtim, before->st_mtim) &&
                  same_time(now.st_ctim, before->st_ctim);
  return !as_before || (!status && !S_ISREG(now.st_mode));
}

/* -- the server -------------------------------------------------------------------------------- */

static char *text;
static size_t length, room;

static int add(const char *data, size_t size) {
  if (length + size + 1 > room) {
    room = 2 * (length + size) + 8192;
    char *more = realloc(text, room);
    if (!more) return 0;
    text = more;
  }
  memcpy(text + length, data, size);
  length += size;
  text[length] = 0;
  return 1;
}

static int field(const char *value) { return add(value, strlen(value) + 1); }

/* The request of request.py: fields that end with NUL, and one NUL more. */
static int make_request(const char *object) {
  struct stat status;
  char identity[96], folder[PATH_MAX];
  if (stat(object, &status) || !getcwd(folder, sizeof folder)) return 0;
  snprintf(identity, sizeof identity, "%lu %lu %lld", (unsigned long)status.st_dev,
           (unsigned long)status.st_ino,
           status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec);
  if (!field(NOPFIX) || !field(folder) || !field(object) || !field(identity) || !field("any"))
    return 0;
  for (const char *const *name = SETTINGS; *name; name++) {
    const char *value = getenv(*name);
    if (value && !(add(*name, strlen(*name)) && add("=", 1) && field(value))) return 0;
  }
  return add("", 1);
}

static int connection_to(const char *server) {
  struct sockaddr_un address = {AF_UNIX, ""};
  struct timeval patience = {LONGEST_CONNECT, 0};
  struct ucred other;
  socklen_t size = sizeof other;
  if (strlen(server) >= sizeof address.sun_path) return -1;
  strcpy(address.sun_path, server);
  int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection < 0) return -1;
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(connection, (struct sockaddr *)&address, sizeof address) ||
      getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &other, &size) || other.uid != geteuid()) {
    close(connection);
    return -1;
  }
  return connection;
}

/* The other side's answer, up to where it closes; 0 when a signal came, or time is up. */
static int receive(int connection, const sigset_t *unblocked, long milliseconds) {
  struct pollfd waiting = {connection, POLLIN, 0};
  struct timespec now, end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += milliseconds / 1000;
  end.tv_nsec += milliseconds % 1000 * 1000000;
  for (;;) {
    char part[8192];
    struct timespec second = {milliseconds < 1000 ? 0 : 1, milliseconds % 1000 * 1000000};
    int ready = ppoll(&waiting, 1, &second, unblocked);
    if (unblocked && received) return 0;
    ssize_t got = ready > 0 ? read(connection, part, sizeof part) : -1;
    if (ready > 0 && got <= 0) return got == 0;
    if (got > 0 && !add(part, got)) return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec)) return 0;
  }
}

/* Whether the server has rewritten the object; what it says is then in text, behind the "+". */
static int ask(const char *server, const char *object, const sigset_t *unblocked) {
  int connection = make_request(object) ? connection_to(server) : -1;
  if (connection < 0) return 0;
  int whole = 1;
  for (size_t sent = 0; whole && sent < length;) {
    ssize_t now = send(connection, text + sent, length - sent, MSG_NOSIGNAL);
    if (now > 0) sent += now;
    else whole = 0;
  }
  length = 0;
  if (whole && !receive(connection, unblocked, LONGEST_REWRITE * 1000L)) {
    whole = length = 0;
    shutdown(connection, SHUT_WR); /* takes the request back */
    receive(connection, 0, LETTING_GO);
  }
  close(connection);
  return whole && length && text[0] == '+';
}

/* Print what the server says.  What has to be escaped, Python does. */
static int say(void) {
  for (const char *at = text + 1; *at; at++)
    if ((*at < ' ' || *at > '~') && *at != '\n') return go_on("say", 0, text + 1);
  for (char *line = strtok(text + 1, "\n"); line; line = strtok(0, "\n"))
    fprintf(stderr, "nopfix: %s\n", line);
  return 0;
}

/* -- one compile ------------------------------------------------------------------------------- */

static int run(char **arguments) {
  posix_spawnattr_t attributes;
  sigset_t defaults;
  pid_t started;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGXFSZ);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  errno = posix_spawnp(&started, COMPILER, 0, &attributes, arguments, environ);
  if (errno) return -1;
  child = started;
  if (received) kill(started, received); /* before there was anyone to pass it on to */
  int status;
  while (waitpid(started, &status, 0) < 0)
    if (errno != EINTR) return -1;
  child = 0;
  return status;
}

int main(int count, char **arguments) {
  const char *server = getenv("NOPFIX_SERVER"), *assembly = getenv("NOPFIX_ASM");
  const char *sibling_calls = getenv("NOPFIX_SIBLING_CALLS");
  struct plan wanted = plan(count, arguments);
  if (wanted.what == PYTHON || getenv("NOPFIX_DEBUG") || getenv("CCC_OVERRIDE_OPTIONS") ||
      (assembly && !strcmp(assembly, "1")) ||
      (wanted.what == OBJECT_COMES && sibling_calls && !strcmp(sibling_calls, "compiler")) ||
      (wanted.what == OBJECT_COMES && !wanted.is_probe && (!server || !*server)))
    return python(arguments);
  arguments[0] = (char *)COMPILER;
  if (wanted.what == NO_OBJECT_COMES) return become(COMPILER, arguments);

  struct stat before;
  const char *object = wanted.object;
  int held = open(object, O_PATH | O_CLOEXEC); /* keeps its number from being given to another */
  int was_there = !stat(object, &before);
  struct sigaction passing = {.sa_handler = pass_on}, old;
  sigset_t ending, unblocked;
  sigemptyset(&ending);
  for (size_t i = 0; i < COUNT(ENDING); i++) {
    sigaction(ENDING[i], 0, &old);
    if (old.sa_handler == SIG_IGN) continue;
    sigaction(ENDING[i], &passing, 0);
    sigaddset(&ending, ENDING[i]);
  }
  signal(SIGCHLD, SIG_DFL); /* who ignores it can't ask for a child's status */
  int status = run(arguments);
  if (status < 0) {
    complain(COMPILER, strerror(errno));
    return COMMAND_NOT_FOUND;
  }
  if (WIFSIGNALED(status)) return die(WTERMSIG(status));
  status = WEXITSTATUS(status);
  int written = is_written(object, was_there, &before, status);
  if (held >= 0) close(held);

  sigprocmask(SIG_BLOCK, &ending, &unblocked);
  if (received) return interrupted(object, written);
  if (!written) return status ? status : go_on("missing", 0, object);
  if (wanted.is_probe && !may_have_code(object)) return status;
  if (!status && server && *server) {
    if (ask(server, object, &unblocked)) return say();
    if (received) return interrupted(object, 1);
  }
  return go_on("rewrite", status, object);
}
