/* The heap, obstacks, queues of messages in memory, names and numbers of the system: libc. */
#define _GNU_SOURCE
#include <argz.h>
#include <arpa/inet.h>
#include <envz.h>
#include <iconv.h>
#include <malloc.h>
#include <netdb.h>
#include <obstack.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define obstack_chunk_alloc malloc
#define obstack_chunk_free free

static __attribute__((noinline)) unsigned fill(unsigned char *at, size_t size, unsigned seed)
{
	unsigned sum = 0;
	for (size_t i = 0; i < size; i++)
		sum += at[i] = seed = seed * 75 % 65537;
	return sum;
}

int main(void)
{
	unsigned char *blocks[400] = { 0 };
	size_t sizes[400] = { 0 };
	unsigned sum = 0, state = 7, aligned = 0;
	for (int i = 0; i < 20000; i++) {
		state = state * 1103515245 + 12345;
		unsigned at = state / 65536 % 400, size = state / 7 % (i % 100 ? 700 : 300000);
		if (blocks[at] && i % 3) {
			blocks[at] = realloc(blocks[at], size + 1);
		} else {
			free(blocks[at]);
			blocks[at] = i % 5 ? malloc(size + 1) : i % 2 ? calloc(size + 1, 1) : aligned_alloc(64, (size | 63) + 1);
			aligned += i % 10 == 0 && (uintptr_t)blocks[at] % 64 == 0;
		}
		sum += fill(blocks[at], size + 1 < 50 ? size + 1 : 50, i);
		sizes[at] = size + 1;
	}
	size_t total = 0;
	for (int i = 0; i < 400; i++) {
		total += sizes[i] <= malloc_usable_size(blocks[i]);
		free(blocks[i]);
	}
	printf("%u %u %zu %d\n", sum, aligned, total, malloc_trim(0) >= 0);
	struct obstack stack;
	obstack_init(&stack);
	for (int i = 0; i < 3000; i++)
		obstack_printf(&stack, "%d,", i);
	obstack_1grow(&stack, 0);
	char *text = obstack_finish(&stack);
	printf("%zu %.20s\n", strlen(text), text + 5000);
	obstack_free(&stack, NULL);
	char *vector = NULL, *entry = NULL;
	size_t length = 0;
	argz_create_sep("b=2:a=1:c:a=5", ':', &vector, &length);
	argz_add(&vector, &length, "z=last");
	envz_add(&vector, &length, "b", "changed");
	while ((entry = argz_next(vector, length, entry)))
		printf("%s ", entry);
	printf("%zu %s\n", argz_count(vector, length), envz_get(vector, length, "a"));
	struct addrinfo hint = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found;
	char host[100];
	for (int i = 0; i < 3; i++) {
		int status = getaddrinfo((const char *[]){ "192.168.1.77", "fe80::1:2", "no address" }[i], "443", &hint, &found);
		if (status) {
			puts(gai_strerror(status));
			continue;
		}
		getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST);
		puts(host);
		freeaddrinfo(found);
	}
	iconv_t to = iconv_open("UTF-16BE", "UTF-8");
	char in[] = "\303\266\342\202\254x", out[20] = { 0 }, *from = in, *into = out;
	size_t left = strlen(in), room = sizeof out;
	if (to != (iconv_t)-1)
		printf("%zu %zu\n", iconv(to, &from, &left, &into, &room), left);
	char *words[] = { "some ", "parts ", "in one\n" };
	struct iovec parts[3];
	for (int i = 0; i < 3; i++)
		parts[i] = (struct iovec){ words[i], strlen(words[i]) };
	fflush(stdout);
	return writev(1, parts, 3) != 18;
}
