// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Commands: sent from a work item, one in each slot of a unit.
 */
#define pr_fmt(fmt) "alua: " fmt

#include <linux/slab.h>
#include <linux/version.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>

#include "glue.h"

/* What tells the Rust half that the path cannot carry a command. */
#define ALUA_PATH_GONE (DID_NO_CONNECT << 16)

/* Sends one command and waits for it; gives what scsi_execute_cmd() gives. */
static int alua_execute(struct scsi_device *sdev, const struct alua_command *command, void *buffer,
			unsigned int length, u8 *sense, int *resid)
{
	int timeout = msecs_to_jiffies(command->timeout_ms);
	blk_opf_t flags = REQ_FAILFAST_DEV | REQ_FAILFAST_TRANSPORT | REQ_FAILFAST_DRIVER;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	const struct scsi_exec_args args = {
		.sense = sense,
		.sense_len = SCSI_SENSE_BUFFERSIZE,
		.resid = resid,
	};

	flags |= command->data_out_len ? REQ_OP_DRV_OUT : REQ_OP_DRV_IN;
	return scsi_execute_cmd(sdev, command->cdb, flags, buffer, length, timeout, 0, &args);
#else
	int direction = command->data_out_len ? DMA_TO_DEVICE :
			command->data_in_len ? DMA_FROM_DEVICE : DMA_NONE;

	return __scsi_execute(sdev, command->cdb, direction, buffer, length, sense, NULL, timeout,
			      0, flags, 0, resid);
#endif
}

static void alua_command_work(struct work_struct *work)
{
	struct alua_slot *slot = container_of(work, struct alua_slot, work);
	const struct alua_command *command = &slot->command;
	unsigned int length = max_t(unsigned int, command->data_in_len, command->data_out_len);
	struct scsi_device *sdev = slot->sdev;
	struct alua_unit *unit = slot->unit;
	u8 sense[SCSI_SENSE_BUFFERSIZE] = { 0 };
	int result = -ENOMEM, resid = 0;
	size_t received = 0;
	unsigned long flags;
	u8 *buffer = NULL;

	if (length)
		buffer = kzalloc(length, GFP_NOIO);
	if (buffer || !length) {
		if (command->data_out_len)
			memcpy(buffer, command->data_out, command->data_out_len);
		result = alua_execute(sdev, command, buffer, length, sense, &resid);
		if (resid >= 0 && resid <= command->data_in_len)
			received = command->data_in_len - resid;
	}
	spin_lock_irqsave(&unit->lock, flags);
	alua_rs_complete(unit->core, command->slot, result, sense, sizeof(sense), buffer, received,
			 alua_now());
	/* From here on the slot may hold the next command. */
	alua_unit_poll(unit);
	alua_unit_arm(unit);
	spin_unlock_irqrestore(&unit->lock, flags);
	kfree(buffer);
	scsi_device_put(sdev);
	alua_unit_put(unit);
}

void alua_slot_init(struct alua_unit *unit, struct alua_slot *slot)
{
	slot->unit = unit;
	INIT_WORK(&slot->work, alua_command_work);
}

/*
 * Starts a command of the Rust half. unit->lock held. A device that goes away, or that its
 * transport has blocked (a command would wait there, not fail), is reported at once.
 */
void alua_command_start(struct alua_unit *unit, const struct alua_command *command)
{
	struct alua_path *path = unit->paths[command->path];
	struct alua_slot *slot = &unit->slots[command->slot];

	if (!path || scsi_device_blocked(path->sdev) || scsi_device_get(path->sdev)) {
		alua_rs_complete(unit->core, command->slot, ALUA_PATH_GONE, NULL, 0, NULL, 0,
				 alua_now());
		return;
	}
	slot->sdev = path->sdev;
	slot->command = *command;
	kref_get(&unit->ref);
	queue_work(alua_workqueue, &slot->work);
}
