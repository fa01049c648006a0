/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the peers share: the sample, the loop, the clock. See src/peer.rs for how they are called. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Reads the sample once and gives the checksum; 0 where it cannot be read. */
static uint32_t read_sample(uint8_t *data, size_t length);

/* Once, before everything. */
static void set_up(uint8_t *data, size_t length);

static void run(uint8_t *data, size_t length, unsigned long count)
{
	struct timespec from, to;
	uint32_t sum = 0;

	clock_gettime(CLOCK_MONOTONIC, &from);
	while (count--)
		sum = read_sample(data, length);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%u %lld\n", sum,
	       (to.tv_sec - from.tv_sec) * 1000000000LL + (to.tv_nsec - from.tv_nsec));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static uint8_t data[4096];
	unsigned long count;
	size_t length;
	FILE *file;

	if (argc < 2 || !(file = fopen(argv[1], "rb")))
		return 1;
	length = fread(data, 1, sizeof(data), file);
	fclose(file);
	set_up(data, length);
	if (argc > 2)
		run(data, length, strtoul(argv[2], NULL, 10));
	else
		while (scanf("%lu", &count) == 1)
			run(data, length, count);
	return 0;
}

/*
 * The checksum of a page 83h: the sum over its designators, in whatever order they are listed
 * (libiscsi lists the last one first).
 */
static inline uint32_t add_designator(uint32_t sum, unsigned code_set, unsigned association,
				      unsigned type, const uint8_t *payload, unsigned length)
{
	unsigned first = length ? payload[0] : 0, last = length ? payload[length - 1] : 0;
	uint32_t fields = code_set << 24 | association << 20 | type << 16 | first << 8 | last;

	return sum + (fields ^ length) * 2654435761u;
}
