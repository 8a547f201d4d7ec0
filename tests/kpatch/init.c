/*
 * The first and only process of a kernel that is live patched: does what the lines of /plan say and
 * switches the machine off.
 *
 * A line is "CASE ACTION NAME", and what came of it is shown as "init: CASE ACTION NAME: RESULT":
 *
 *	load FILE	load the module /lib/FILE
 *	try FILE	the same by a process of its own, which the module may take with it:
 *			"errno 4" (EINTR) then
 *	settle MODULE	wait until every task runs the new code of the patch of that name
 *	probe PATCH	look for the patch's effect: "yes" or "no"
 *	disable MODULE	take the patch of that name back, wait until it is gone
 *	unload MODULE
 *	syslog N	klogctl(N)
 *	run COMMAND	a shell command, to the end of the line; "errno N" is its status
 *
 * RESULT is "ok" or "errno N" but for probe.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUESTION 0x6e6f

static char text[1 << 20];

/* The whole file in `text`; empty when it can't be read. */
static const char *read_file(const char *path)
{
	size_t have = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY);

	while (fd >= 0 && (got = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
		have += got;
	if (fd >= 0)
		close(fd);
	text[have] = 0;
	return text;
}

static int contains(const char *path, const char *what)
{
	if (strstr(read_file(path), what))
		return 1;
	printf("init: %s has no \"%s\", but \"%.60s\"\n", path, what, text);
	return 0;
}

static int write_file(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY);
	ssize_t done = fd < 0 ? -1 : write(fd, what, strlen(what));

	if (fd >= 0)
		close(fd);
	return done < 0 ? -1 : 0;
}

static int load_module(const char *name)
{
	char path[256];
	int fd, status, error;

	snprintf(path, sizeof(path), "/lib/%s", name);
	fd = open(path, O_RDONLY);
	status = fd < 0 ? -1 : syscall(SYS_finit_module, fd, "", 0);
	error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return status;
}

static int try_module(const char *name)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(load_module(name) < 0 ? errno : 0);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return errno ? -1 : 0;
}

static int static_call(void)
{
	return contains("/proc/meminfo", "Nopfix: ");
}

static int replacement(void)
{
	return contains("/proc/meminfo", "Replaced: ");
}

static int several_files(void)
{
	return contains("/proc/uptime", "nopfix ") && contains("/proc/version", "nopfix ") &&
	       contains("/proc/cmdline", "nopfix ") &&
	       umount2("/", 0x6e6f00) && errno == ENOTTY;
}

static int new_function(void)
{
	int odd = contains("/proc/self/status", "Nopfix:\todd 7");
	int even = contains("/proc/self/status", "Nopfix:\teven 7");

	return odd && even;
}

/* The log was told to be quiet before the patch came: it has to know how loud it was. */
static int static_local(void)
{
	int level = klogctl(QUESTION, NULL, 0);
	int next = klogctl(QUESTION, NULL, 0);

	return level / 1000 == 1 && next / 1000 == 2 && level % 1000 == next % 1000 &&
	       level % 1000 > 0 && level % 1000 < 16;
}

static int switch_cases(void)
{
	int signal = -1;

	prctl(PR_SET_PDEATHSIG, 12);
	return prctl(17) == 4217 && prctl(18) == 4218 &&
	       !prctl(PR_GET_PDEATHSIG, &signal) && signal == 12;
}

static int jump_label(void)
{
	int little = -1;

	return contains("/proc/cpuinfo", "nopfix\t\t: here") &&
	       prctl(PR_GET_ENDIAN, QUESTION) == 4219 &&
	       !prctl(PR_GET_ENDIAN, &little) && little == PR_ENDIAN_LITTLE;
}

static int warning(void)
{
	int length;

	if (epoll_create1(QUESTION) >= 0 || errno != ENOTTY)
		return 0;
	length = klogctl(3, text, sizeof(text) - 1);
	text[length > 0 ? length : 0] = 0;
	return strstr(text, "nopfix: this warning is meant") &&
	       strtol(read_file("/proc/sys/kernel/tainted"), NULL, 10) & 512;
}

static int tracepoint(void)
{
	char name[32] = "";
	int traced;

	mkdir("/trace", 0755);
	mount("tracefs", "/trace", "tracefs", 0, NULL);
	write_file("/trace/events/task/task_rename/enable", "1");
	prctl(PR_SET_NAME, "!x");
	prctl(PR_GET_NAME, name);
	traced = contains("/trace/trace", "newcomm=nopfix");
	write_file("/trace/events/task/task_rename/enable", "0");
	write_file("/trace/trace", "");
	umount("/trace");
	prctl(PR_SET_NAME, "init");
	return traced && !strcmp(name, "nopfix");
}

static int callbacks(void)
{
	return syscall(SYS_unshare, QUESTION) == 4220;
}

static int shadow(void)
{
	write_file("/proc/self/comm", "one");
	write_file("/proc/self/comm", "two");
	return contains("/proc/self/comm", "2 writes: two");
}

static int system_call(void)
{
	/* The call itself answers 20 minus the nice value. */
	return syscall(SYS_getpriority, PRIO_PROCESS, QUESTION) == 4221 &&
	       syscall(SYS_getpriority, PRIO_PROCESS, 0) == 20;
}

static int clones(void)
{
	int hidden = 1, others = 0;
	struct dirent *entry;
	DIR *folder = opendir("/proc/sys/kernel");

	while (folder && (entry = readdir(folder))) {
		others += !strcmp(entry->d_name, "osrelease");
		if (!strcmp(entry->d_name, "ostype"))
			hidden = 0;
	}
	if (folder)
		closedir(folder);
	return hidden && others == 1 && mprotect(0, 4096, QUESTION) && errno == ENOTTY;
}

static int module(void)
{
	int found;

	mkdir("/overlay", 0755);
	mount("tmpfs", "/overlay", "tmpfs", 0, NULL);
	mkdir("/overlay/lower", 0755);
	mkdir("/overlay/upper", 0755);
	mkdir("/overlay/work", 0755);
	mkdir("/overlay/merged", 0755);
	if (mount("overlay", "/overlay/merged", "overlay", 0,
		  "lowerdir=/overlay/lower,upperdir=/overlay/upper,workdir=/overlay/work"))
		printf("init: mount: errno %d\n", errno);
	found = contains("/proc/mounts", ",nopfix");
	umount("/overlay/merged");
	umount("/overlay");
	return found;
}

static int coming_module(void)
{
	int found;

	if (load_module("binfmt_misc.ko"))
		printf("init: binfmt_misc: errno %d\n", errno);
	mkdir("/binfmt", 0755);
	mount("binfmt_misc", "/binfmt", "binfmt_misc", 0, NULL);
	found = contains("/binfmt/status", "nopfix");
	umount("/binfmt");
	syscall(SYS_delete_module, "binfmt_misc", O_NONBLOCK);
	return found;
}

static int loop(void)
{
	int fd, answer;

	mkdir("/dev", 0755);
	mknod("/dev/loop-control", S_IFCHR | 0600, makedev(10, 237));
	fd = open("/dev/loop-control", O_RDWR);
	answer = ioctl(fd, QUESTION, 0);
	close(fd);
	return answer == 4223;
}

static int outside(void)
{
	return contains("/proc/nopfix-outside", "nopfix ");
}

static int user_access(void)
{
	int hidden = 1, others = 0;
	struct dirent *entry;
	DIR *folder;

	close(open("/nopfix-hidden", O_CREAT | O_WRONLY, 0644));
	folder = opendir("/");
	while (folder && (entry = readdir(folder))) {
		others += !strcmp(entry->d_name, "proc");
		if (!strcmp(entry->d_name, "nopfix-hidden"))
			hidden = 0;
	}
	closedir(folder);
	return hidden && others == 1;
}

static int cgroup(void)
{
	int found;

	mkdir("/cgroup", 0755);
	mount("cgroup2", "/cgroup", "cgroup2", 0, NULL);
	found = contains("/cgroup/cgroup.stat", "nopfix 1");
	umount("/cgroup");
	return found;
}

static int scheduler(void)
{
	struct timespec slice;

	return sched_rr_get_interval(QUESTION, &slice) && errno == ENOTTY;
}

static int sibling_call(void)
{
	int fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_SYNC);
	long got = syscall(SYS_getdents64, fd, text, sizeof(text));
	int error = errno;
	DIR *folder = opendir("/proc/self");
	int others = folder && readdir(folder);

	if (folder)
		closedir(folder);
	if (fd >= 0)
		close(fd);
	return got < 0 && error == ENOTTY && others;
}

static const struct {
	const char *name;
	int (*shows)(void);
} probes[] = {
	{ "static-call", static_call },
	{ "replacement", replacement },
	{ "several-files", several_files },
	{ "new-function", new_function },
	{ "static-local", static_local },
	{ "switch", switch_cases },
	{ "jump-label", jump_label },
	{ "warn", warning },
	{ "tracepoint", tracepoint },
	{ "callbacks", callbacks },
	{ "shadow", shadow },
	{ "syscall", system_call },
	{ "clones", clones },
	{ "module", module },
	{ "coming-module", coming_module },
	{ "loop", loop },
	{ "outside", outside },
	{ "user-access", user_access },
	{ "cgroup", cgroup },
	{ "scheduler", scheduler },
	{ "no-sibling-call", sibling_call },
	{ "sibling-call", sibling_call },
};

static const char *probe(const char *name)
{
	for (size_t i = 0; i < sizeof(probes) / sizeof(*probes); i++)
		if (!strcmp(probes[i].name, name))
			return probes[i].shows() ? "yes" : "no";
	return "unknown";
}

/* Wait, 20 seconds at most, until the patch's transition file reads '0' or isn't there. */
static int settled(const char *module, int gone)
{
	char path[512];

	snprintf(path, sizeof(path), "/sys/kernel/livepatch/%s/transition", module);
	for (int tries = 0; tries < 200; tries++) {
		const char *state = read_file(path);

		if (!*state || (!gone && *state == '0'))
			return 1;
		usleep(100000);
	}
	return 0;
}

static int settle(const char *module)
{
	errno = ETIME;
	return settled(module, 0) ? 0 : -1;
}

static int disable(const char *module)
{
	char path[512];

	snprintf(path, sizeof(path), "/sys/kernel/livepatch/%s/enabled", module);
	if (write_file(path, "0"))
		return -1;
	if (!settled(module, 1)) {
		errno = ETIME;
		return -1;
	}
	return 0;
}

static int unload(const char *module)
{
	for (int tries = 0; tries < 50; tries++) {
		if (!syscall(SYS_delete_module, module, O_NONBLOCK))
			return 0;
		if (errno != EAGAIN && errno != EBUSY)
			return -1;
		usleep(100000);
	}
	return -1;
}

static int run(const char *command)
{
	int status = system(command);

	if (status < 0)
		return -1;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return errno ? -1 : 0;
}

int main(void)
{
	char line[512], key[128], action[128], name[256];
	FILE *plan;
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	printf("init: up: %s", read_file("/proc/version"));
	plan = fopen("/plan", "r");
	while (plan && fgets(line, sizeof(line), plan)) {
		if (sscanf(line, "%127s %127s %255[^\n]", key, action, name) != 3)
			continue;
		if (!strcmp(action, "probe")) {
			printf("init: %s probe %s: %s\n", key, name, probe(name));
			continue;
		}
		errno = 0;
		status = !strcmp(action, "load") ? load_module(name)
			 : !strcmp(action, "try") ? try_module(name)
			 : !strcmp(action, "settle") ? settle(name)
			 : !strcmp(action, "disable") ? disable(name)
			 : !strcmp(action, "unload") ? unload(name)
			 : !strcmp(action, "syslog") ? klogctl(atoi(name), NULL, 0)
			 : !strcmp(action, "run") ? run(name)
			 : -1;
		if (status < 0)
			printf("init: %s %s %s: errno %d\n", key, action, name, errno);
		else
			printf("init: %s %s %s: ok\n", key, action, name);
	}
	printf("init: done\n");
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
