/* POSIX regular expressions, glob, fnmatch, time, environment, options: libc. */
#define _GNU_SOURCE
#include <fnmatch.h>
#include <getopt.h>
#include <glob.h>
#include <regex.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void expressions(void)
{
	static const char *const patterns[] = { "^(a+)(b*)c$", "([0-9]{1,3}\\.){3}[0-9]{1,3}",
		"(x|y)+z?", "[[:alpha:]_][[:alnum:]_]*", "(foo|bar)(baz)?.*\\1", "a{2,1}", "(unclosed" };
	static const char *const texts[] = { "aaabbc", "at 192.168.10.200 now", "xyxyz", "_name9 =",
		"foo and foo", "", "aXXb" };
	for (unsigned i = 0; i < sizeof patterns / sizeof *patterns; i++) {
		regex_t compiled;
		char message[100];
		int status = regcomp(&compiled, patterns[i], REG_EXTENDED | (i % 2 ? REG_ICASE : 0));
		if (status) {
			regerror(status, &compiled, message, sizeof message);
			printf("%s: %s\n", patterns[i], message);
			continue;
		}
		for (unsigned j = 0; j < sizeof texts / sizeof *texts; j++) {
			regmatch_t at[4];
			if (!regexec(&compiled, texts[j], 4, at, 0))
				printf("%u %u %d %d %d %d\n", i, j, at[0].rm_so, at[0].rm_eo, at[1].rm_so, at[2].rm_eo);
		}
		regfree(&compiled);
	}
}

static int nodes;
static void walk(const void *node, VISIT order, int depth)
{
	if (order == leaf || order == postorder)
		printf("%s%c", *(char *const *)node, depth >= 0 ? ' ' : '?'), nodes++;
}

int main(int argc, char **argv)
{
	expressions();
	printf("%d %d %d\n", fnmatch("*.[ch]", "file.c", 0), fnmatch("a?c*", "abcd/e", FNM_PATHNAME),
	       fnmatch("+(ab|c)", "ababc", FNM_EXTMATCH));
	for (int i = 0; i < 6; i++) {
		char name[20];
		sprintf(name, "f%d.%c", i, "ch"[i % 2]);
		fclose(fopen(name, "w"));
	}
	glob_t found;
	glob("f[1-4].{c,h}", GLOB_BRACE | GLOB_MARK, NULL, &found);
	for (size_t i = 0; i < found.gl_pathc; i++)
		printf("%s ", found.gl_pathv[i]);
	globfree(&found);
	time_t moments[] = { 0, 951782400, 1700000000, 4102444800, -86400 };
	for (int i = 0; i < 5; i++) {
		struct tm parts;
		char text[200];
		gmtime_r(&moments[i], &parts);
		strftime(text, sizeof text, "%F %T %a %b %j %U %V %G %p %s", &parts);
		printf("%s %ld\n", text, (long)timegm(&parts));
	}
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	for (int month = 0; month < 12; month += 3) {
		struct tm parts = { .tm_year = 124, .tm_mon = month, .tm_mday = 31, .tm_hour = 2, .tm_isdst = -1 };
		long at = mktime(&parts);
		printf("%ld %d %s", at, parts.tm_isdst, asctime(&parts));
	}
	struct tm parsed = { 0 };
	printf("%s|\n", strptime("2024-02-29 23:59:58 rest", "%Y-%m-%d %H:%M:%S", &parsed));
	char *words[] = { "program", "-a", "--long=5", "-bvalue", "rest", "-c", NULL };
	static const struct option longs[] = { { "long", required_argument, NULL, 'l' }, { 0 } };
	int option;
	while ((option = getopt_long(6, words, "ab:c", longs, NULL)) != -1)
		printf("%c:%s ", option, optarg ? optarg : "-");
	printf("%d %d\n", optind, argc);
	void *root = NULL;
	for (int i = 0; i < 40; i++) {
		char *key;
		asprintf(&key, "k%02d", i * 17 % 40);
		tsearch(key, &root, (int (*)(const void *, const void *))strcmp);
	}
	twalk(root, walk);
	hcreate(100);
	for (int i = 0; i < 50; i++)
		hsearch((ENTRY){ .key = strdup(argv[0] ? "name" : ""), .data = NULL }, ENTER);
	srand48(42);
	srandom(42);
	printf("%d %.10f %ld %ld %d\n", nodes, drand48(), random(), lrand48(), rand());
	return 0;
}
