/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * REPORT TARGET PORT GROUPS through multipath-tools: the function by which multipathd learns the
 * state of a path's group. It sends the command itself, by the SG_IO ioctl; here that call ends in
 * this program, which hands it the sample. Of the path it reads one field, the file descriptor,
 * which is not looked at here.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <scsi/sg.h>
#include <stdarg.h>
#include <string.h>
#include "peer.h"

static int (*get_state)(const void *path, unsigned int group, unsigned int timeout);
static uint8_t no_path[8192];
static uint8_t *report;
static size_t report_length;
static unsigned last_group;

/* In the place of that of libc. */
int ioctl(int fd, unsigned long request, ...)
{
	struct sg_io_hdr *io;
	va_list rest;

	(void)fd;
	va_start(rest, request);
	io = va_arg(rest, struct sg_io_hdr *);
	va_end(rest);
	if (request != SG_IO || io->dxfer_len < report_length)
		return -1;
	memcpy(io->dxferp, report, report_length);
	io->status = io->masked_status = io->host_status = io->driver_status = 0;
	io->info = 0;
	io->resid = (int)(io->dxfer_len - report_length);
	return 0;
}

static void set_up(uint8_t *data, size_t length)
{
	void *library = dlopen("libmultipath.so.0", RTLD_LAZY);
	void *found = library ? dlsym(library, "get_asymmetric_access_state") : NULL;

	if (!found) {
		fprintf(stderr, "%s\n", dlerror());
		exit(2);
	}
	memcpy(&get_state, &found, sizeof(found));
	report = data;
	report_length = length;
	last_group = length < 22 ? 0 : data[length - 22] << 8 | data[length - 21];
}

static uint32_t read_sample(uint8_t *data, size_t length)
{
	int state = get_state(no_path, last_group, 60000);

	(void)data;
	(void)length;
	return state < 0 ? 0 : (uint32_t)state;
}
