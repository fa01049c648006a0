/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Page 83h through sg3_utils: the iterator of its library, which leaves the fields to the caller. */

#include <scsi/sg_lib.h>
#include "peer.h"

static void set_up(uint8_t *data, size_t length)
{
	(void)data;
	(void)length;
}

static uint32_t read_sample(uint8_t *data, size_t length)
{
	unsigned page = data[2] << 8 | data[3];
	uint32_t sum = 0;
	int at = -1;

	if (length < 4 || data[1] != 0x83 || page + 4 > length)
		return 0;
	while (!sg_vpd_dev_id_iter(data + 4, (int)page, &at, -1, -1, -1)) {
		const uint8_t *one = data + 4 + at;

		sum = add_designator(sum, one[0] & 0xf, one[1] >> 4 & 3, one[1] & 0xf, one + 4,
				     one[3]);
	}
	return sum;
}
