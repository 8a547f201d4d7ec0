/*
 * The first and only process of the test kernel: loads the modules named in /modules in that
 * order, shows what became of each, and switches the machine off.
 *
 * Every line that the test reads begins with "init:".  A module's line is "init: load NAME: ok" or
 * "init: load NAME: errno N"; the kernel's own lines go to the same console.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void show(const char *label, const char *path)
{
	char text[512];
	FILE *file = fopen(path, "r");

	if (!file) {
		printf("init: %s: errno %d\n", label, errno);
		return;
	}
	while (fgets(text, sizeof(text), file)) {
		text[strcspn(text, "\n")] = 0;
		printf("init: %s: %s\n", label, text);
	}
	fclose(file);
}

static void load(const char *name)
{
	char path[256], transition[256];
	int fd, tries;

	snprintf(path, sizeof(path), "/lib/%s.ko", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0)) {
		printf("init: load %s: errno %d\n", name, errno);
	} else {
		printf("init: load %s: ok\n", name);
		/* A livepatch counts once every task runs the new code. */
		snprintf(transition, sizeof(transition),
			 "/sys/kernel/livepatch/%s/transition", name);
		for (char *c = transition; *c; c++)
			if (*c == '-')
				*c = '_';
		for (tries = 0; tries < 100; tries++) {
			FILE *file = fopen(transition, "r");
			int pending = file ? fgetc(file) == '1' : 0;

			if (file)
				fclose(file);
			if (!pending)
				break;
			usleep(100000);
		}
	}
	if (fd >= 0)
		close(fd);
}

int main(void)
{
	char name[128];
	FILE *modules;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	printf("init: up\n");
	show("version", "/proc/version");
	show("cmdline before", "/proc/cmdline");
	modules = fopen("/modules", "r");
	while (modules && fgets(name, sizeof(name), modules)) {
		name[strcspn(name, "\n")] = 0;
		if (*name)
			load(name);
	}
	show("cmdline after", "/proc/cmdline");
	printf("init: done\n");
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
