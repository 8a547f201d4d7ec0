/* Streams on files, memory and pipes: libc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int seen;
static int visit(const char *path, const struct stat *status, int kind, struct FTW *at)
{
	seen += kind == FTW_F ? (int)status->st_size : 0;
	return path[0] == '.' && at->level < 9 ? 0 : 1;
}

static ssize_t reading(void *cookie, char *to, size_t size)
{
	int *left = cookie;
	size_t give = size < (size_t)*left ? size : (size_t)*left;
	memset(to, 'r', give);
	*left -= give;
	return give;
}

int main(void)
{
	char *line = NULL, *made = NULL, buffer[100];
	size_t size = 0, length = 0;
	FILE *file = fopen("data", "w+");
	setvbuf(file, NULL, _IOFBF, 128);
	for (int i = 0; i < 200; i++)
		fprintf(file, "%d,%s,%.3f\n", i, i % 2 ? "odd" : "even", i / 7.0);
	rewind(file);
	int number, sum = 0, lines = 0;
	float fraction;
	while (fscanf(file, "%d,%9[a-z],%f\n", &number, buffer, &fraction) == 3)
		sum += number + (int)fraction + buffer[0];
	fseek(file, -30, SEEK_END);
	while (getline(&line, &size, file) > 0)
		lines += strlen(line);
	printf("%d %d %ld %d\n", sum, lines, ftell(file), feof(file) != 0);
	ungetc('u', file);
	printf("%c\n", fgetc(file));
	fclose(file);
	file = open_memstream(&made, &length);
	for (int i = 0; i < 300; i++)
		fputs("memory ", file), fputc('0' + i % 10, file);
	fseek(file, 3, SEEK_SET);
	fwrite("XYZ", 1, 3, file);
	fclose(file);
	printf("%zu %.20s %s\n", length, made, made + length);
	file = fmemopen(made, 50, "r+");
	printf("%zu ", fread(buffer, 7, 5, file));
	fclose(file);
	free(made);
	int left = 5000, total = 0;
	file = fopencookie(&left, "r", (cookie_io_functions_t){ .read = reading });
	while (fgets(buffer, sizeof buffer, file))
		total += strlen(buffer);
	fclose(file);
	printf("%d %d\n", total, left);
	file = tmpfile();
	for (int i = 0; i < 1000; i++)
		fwrite(&i, sizeof i, 1, file);
	fflush(file);
	int *mapped = mmap(NULL, 4000, PROT_READ, MAP_PRIVATE, fileno(file), 0);
	printf("%d %d\n", mapped[999], mapped[123]);
	munmap(mapped, 4000);
	fclose(file);
	mkdir("sub", 0755);
	mkdir("sub/deeper", 0700);
	for (int i = 0; i < 5; i++) {
		sprintf(buffer, "sub/deeper/%d", i);
		int fd = open(buffer, O_CREAT | O_WRONLY, 0644);
		dprintf(fd, "%0*d", 10 + i, i);
		close(fd);
	}
	symlink("deeper/3", "sub/link");
	struct dirent **names;
	int count = scandir("sub/deeper", &names, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		printf("%s ", names[i]->d_name);
		free(names[i]);
	}
	free(names);
	nftw(".", visit, 8, FTW_PHYS);
	printf("%d %zd %d\n", seen, readlink("sub/link", buffer, sizeof buffer), rename("data", "sub/data"));
	printf("%d\n", access("sub/data", R_OK));
	free(line);
	return 0;
}
