/* Compression of all levels and strategies, and back: libz. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { SIZE = 60000 };
static unsigned char data[SIZE], packed[SIZE * 2], opened[SIZE];

static size_t pack(int level, int strategy, int bits, size_t chunk)
{
	z_stream stream = { .next_in = data, .next_out = packed };
	deflateInit2(&stream, level, Z_DEFLATED, bits, 1 + level % 9, strategy);
	if (level == 5)
		deflateSetDictionary(&stream, (const Bytef *)"some words of a dictionary", 26);
	for (size_t done = 0; done < SIZE; done += chunk) {
		stream.avail_in = done + chunk < SIZE ? chunk : SIZE - done;
		stream.avail_out = sizeof packed - stream.total_out;
		deflate(&stream, done % 5 ? Z_NO_FLUSH : Z_FULL_FLUSH);
	}
	stream.avail_out = sizeof packed - stream.total_out;
	deflate(&stream, Z_FINISH);
	size_t size = stream.total_out;
	deflateEnd(&stream);
	return size;
}

static int unpack(int bits, size_t size, size_t chunk)
{
	z_stream stream = { .next_in = packed, .next_out = opened, .avail_out = SIZE };
	int status = Z_OK;
	inflateInit2(&stream, bits);
	for (size_t done = 0; done < size && status != Z_STREAM_END; done += chunk) {
		stream.avail_in = done + chunk < size ? chunk : size - done;
		status = inflate(&stream, Z_SYNC_FLUSH);
		if (status == Z_NEED_DICT) {
			inflateSetDictionary(&stream, (const Bytef *)"some words of a dictionary", 26);
			status = inflate(&stream, Z_SYNC_FLUSH);
		}
		if (status < 0)
			break;
	}
	inflateEnd(&stream);
	return status == Z_STREAM_END && !memcmp(data, opened, SIZE) ? 1 : status;
}

int main(void)
{
	unsigned state = 1;
	for (int i = 0; i < SIZE; i++) {
		state = state * 1103515245 + 12345;
		data[i] = i % 700 < 300 ? "some words of a dictionary "[i % 27] : state >> 28;
	}
	printf("%lx %lx %s\n", crc32(0, data, SIZE), adler32(1, data, SIZE), zlibVersion());
	for (int level = 0; level < 10; level++)
		for (int strategy = 0; strategy < 5; strategy++) {
			int bits = strategy == 3 && level != 5 ? 31 : strategy == 2 && level != 5 ? -15 : 12 + level % 4;
			size_t size = pack(level, strategy, bits, 1000 + level * 777);
			printf("%d %d %zu %lx %d\n", level, strategy, size, crc32(0, packed, size),
			       unpack(bits == 31 ? 47 : bits, size, 333 + strategy * 100));
		}
	packed[700] ^= 0x55;
	printf("%d\n", unpack(15, 5000, 100) < 0);
	gzFile file = gzopen("f.gz", "wb9");
	for (int i = 0; i < 500; i++)
		gzprintf(file, "line %d of a file\n", i * i);
	gzclose(file);
	file = gzopen("f.gz", "rb");
	char line[100];
	unsigned lines = 0, sum = 0;
	while (gzgets(file, line, sizeof line))
		lines++, sum += strlen(line);
	printf("%u %u %ld\n", lines, sum, gztell(file));
	gzclose(file);
	uLongf length = sizeof packed;
	printf("%d %lu %lx\n", compress2(packed, &length, data, SIZE, 6), length,
	       crc32_combine(crc32(0, data, 100), crc32(0, data + 100, 200), 200));
	return 0;
}
