/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Page 83h through libiscsi: the list of designators that its unmarshaller makes. */

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include "peer.h"

static void set_up(uint8_t *data, size_t length)
{
	(void)data;
	(void)length;
}

static uint32_t read_sample(uint8_t *data, size_t length)
{
	unsigned char cdb[6] = { 0x12, 1, 0x83, 0x10, 0, 0 };
	struct scsi_inquiry_device_identification *page;
	struct scsi_inquiry_device_designator *at;
	struct scsi_task *task;
	uint32_t sum = 0;

	task = scsi_create_task(sizeof(cdb), cdb, SCSI_XFER_READ, 4096);
	if (!task)
		return 0;
	task->datain.data = data;
	task->datain.size = (int)length;
	page = scsi_datain_unmarshall(task);
	for (at = page ? page->designators : NULL; at; at = at->next)
		sum = add_designator(sum, at->code_set, at->association, at->designator_type,
				     (const uint8_t *)at->designator, at->designator_length);
	/* The data is ours, and would be freed with the task. */
	task->datain.data = NULL;
	scsi_free_scsi_task(task);
	return sum;
}
