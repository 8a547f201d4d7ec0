/* Strings, numbers and their formats, wide characters, sorting: libc. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static int by_text(const void *a, const void *b, void *calls)
{
	++*(int *)calls;
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void formats(void)
{
	char line[200];
	for (int width = 0; width < 12; width += 5)
		for (int digits = 0; digits < 9; digits += 4)
			printf("[%*.*f] [%-*.*e] [%+*.*g] [%0*.*a]\n", width, digits, 1.0 / 3, width, digits,
			       -12345.678, width, digits, 1e-7, width, digits, 6.02e23);
	printf("%5d|%-5d|%05d|%+d|%x|%#o|%lld|%hhd|%zu|%jd\n", 42, 42, 42, 42, 48879, 8,
	       -1LL, 300, sizeof line, (intmax_t)INT64_MIN);
	printf("%Lf %.20Lg %s %.3s %c %%%n", 1.5L, 0.1L, "text", "cut off", 'x', &(int){0});
	printf("\n%'d %m %2$s\n", 1234567, "second");
	snprintf(line, sizeof line, "%ls %lc", L"wide", L'w');
	puts(line);
}

static void numbers(void)
{
	static const char *const texts[] = { "42", "-0x1f", "077", "1e308", "1e309", "nan(7)", "inf",
		"0x1.8p3", " 12abc", "", "99999999999999999999", "3.14159265358979323846" };
	for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
		char *end;
		errno = 0;
		long whole = strtol(texts[i], &end, 0);
		printf("%s: %ld %d %td", texts[i], whole, errno, end - texts[i]);
		errno = 0;
		printf(" %.17g %d %Lg %g\n", strtod(texts[i], NULL), errno, strtold(texts[i], NULL),
		       strtof(texts[i], NULL));
	}
	int a, n;
	char word[20];
	double d;
	n = sscanf("17 word 2.5e3 rest", "%d %19s %lf", &a, word, &d);
	printf("%d %d %s %g\n", n, a, word, d);
	n = sscanf("key=[abc] 0x1F", "key=[%19[a-c]] %i", word, &a);
	printf("%d %s %d\n", n, word, a);
}

static void searching(void)
{
	char text[3000], copy[3000], *state;
	for (unsigned i = 0; i < sizeof text - 1; i++)
		text[i] = 'a' + i * i % 23;
	text[sizeof text - 1] = 0;
	for (unsigned from = 0; from < 40; from += 3) {
		memcpy(copy, text + from, sizeof text - from);
		memmove(copy + 5, copy, 1000 + from);
		printf("%zu %zu %zu %d %d ", strlen(copy), strspn(copy, "abcdefg"), strcspn(copy, "xyz"),
		       memcmp(copy, text, 500) > 0, strncasecmp(copy, text, 100) < 0);
		char *at = strstr(copy, "qe");
		printf("%td %td %td\n", at ? at - copy : -1, strrchr(copy, 'b') - copy,
		       (char *)memchr(copy, 'd', 2000) - copy);
	}
	strcpy(copy, "one,two;;three , four");
	for (char *word = strtok_r(copy, ",; ", &state); word; word = strtok_r(NULL, ",; ", &state))
		printf("<%s>", word);
	printf(" %s %s %d\n", strchrnul("abc", 'z') - 3, basename("/usr/lib/x.a"), strverscmp("a9", "a10"));
	printf("%s|%s|%s\n", strerror(ENOENT), strsignal(11), (char *)memmem("haystack", 8, "st", 2));
}

int main(void)
{
	formats();
	numbers();
	searching();
	int values[500];
	char *words[60], calls = 0;
	int compared = 0;
	for (int i = 0; i < 500; i++)
		values[i] = i * 7919 % 1009;
	qsort(values, 500, sizeof *values, by_value);
	for (int i = 0; i < 500; i += 49)
		printf("%d ", values[i]);
	int key = 14;
	printf("%td\n", (int *)bsearch(&key, values, 500, sizeof *values, by_value) - values);
	for (int i = 0; i < 60; i++)
		if (asprintf(&words[i], "%c%d", 'a' + i * 11 % 26, i) < 0)
			return 1;
	qsort_r(words, 60, sizeof *words, by_text, &compared);
	for (int i = 0; i < 60; i++, calls++) {
		printf("%s ", words[i]);
		free(words[i]);
	}
	printf("\n%d %d\n", compared > 100, calls);
	setlocale(LC_ALL, "C.UTF-8");
	wchar_t wide[50];
	size_t length = mbstowcs(wide, "gr\303\266\303\237er \342\202\254", 50);
	printf("%zu %d %d %d\n", length, iswalpha(wide[2]), wcscmp(wide, L"gr"), towupper(wide[2]));
	swprintf(wide, 50, L"%d %ls %.2f", 7, L"wide", 2.5);
	printf("%ls %ld %zu\n", wide, wcstol(L"-77", NULL, 10), wcslen(wide));
	return 0;
}
