// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Commands: sent from a work item, one in each slot of a unit.
 */
#define pr_fmt(fmt) "alua: " fmt

#include <linux/blk-mq.h>
#include <linux/delay.h>
#include <linux/slab.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>

#include "glue.h"

/* What tells the Rust half that the path cannot carry a command. */
#define ALUA_PATH_GONE (DID_NO_CONNECT << 16)

/*
 * A request for a command. Where the queue has none left, those who hold requests there hear of it
 * (alua_command_wants_room()) until one is free. May sleep.
 */
static struct request *alua_request_get(struct alua_slot *slot, blk_opf_t operation)
{
	struct request_queue *queue = slot->sdev->request_queue;
	struct request *req = scsi_alloc_request(queue, operation, BLK_MQ_REQ_NOWAIT);

	if (!IS_ERR(req))
		return req;
	/* Zero is for nobody. */
	smp_store_release(&slot->waits, jiffies | 1);
	req = scsi_alloc_request(queue, operation, 0);
	WRITE_ONCE(slot->waits, 0);
	return req;
}

/*
 * Whether a request that is held on this device is to make room for a command of ours: one for each
 * room_ms that the command waits. Under rcu_read_lock(), without a lock: a slot has its device and its
 * time before it waits.
 */
bool alua_command_wants_room(struct alua_unit *unit, const struct scsi_device *sdev)
{
	unsigned long since;
	int place;

	for (place = 0; place < ALUA_SLOTS; place++) {
		struct alua_slot *slot = &unit->slots[place];

		since = smp_load_acquire(&slot->waits);
		if (since && READ_ONCE(slot->sdev) == sdev &&
		    time_after(jiffies, since + READ_ONCE(slot->room)) &&
		    cmpxchg(&slot->waits, since, jiffies | 1) == since)
			return true;
	}
	return false;
}

/*
 * Lets a command go first that the midlayer puts back for a moment: it gets no turn as long as another
 * one is out on the device, and ours may be out for long. The midlayer asks the handler and then puts it
 * back in the same breath (scsi_decide_disposition(), scsi_complete()), a jiffy or two later at the most.
 * Its turn comes after three runs of the queue (max_device_blocked, SCSI_QUEUE_DELAY of 3 ms;
 * scsi_set_blocked() and scsi_dev_queue_ready(), alike in 6.1 and 6.12); the limit is for one that
 * never comes. May sleep.
 */
static void alua_let_first(const struct alua_slot *slot)
{
	int looks;

	if (slot->put_back && time_before(jiffies, slot->put_back + 2))
		usleep_range(1000, 2000);
	for (looks = 0; looks < 10 && atomic_read(&slot->sdev->device_blocked); looks++)
		usleep_range(4000, 5000);
}

/*
 * Sends the command of a slot and waits for it. Gives what scsi_execute_cmd() gives (__scsi_execute() in
 * 6.1), which cannot tell that the queue has no request left without giving up there.
 */
static int alua_execute(struct alua_slot *slot, void *buffer, unsigned int length, u8 *sense,
			unsigned int *resid)
{
	blk_opf_t operation = REQ_FAILFAST_DEV | REQ_FAILFAST_TRANSPORT | REQ_FAILFAST_DRIVER;
	const struct alua_command *command = &slot->command;
	struct scsi_cmnd *cmd;
	struct request *req;
	int result;

	alua_let_first(slot);
	operation |= command->data_out_len ? REQ_OP_DRV_OUT : REQ_OP_DRV_IN;
	req = alua_request_get(slot, operation);
	if (IS_ERR(req))
		return PTR_ERR(req);
	if (length) {
		result = blk_rq_map_kern(req->q, req, buffer, length, GFP_NOIO);
		if (result)
			goto out;
	}
	cmd = blk_mq_rq_to_pdu(req);
	cmd->cmd_len = command->cdb_len;
	memcpy(cmd->cmnd, command->cdb, command->cdb_len);
	cmd->allowed = 0;
	req->timeout = msecs_to_jiffies(command->timeout_ms);
	req->rq_flags |= RQF_QUIET;
	/* At the head, as the midlayer does it: a quiesced queue takes nothing else. */
	blk_execute_rq(req, true);
	memcpy(sense, cmd->sense_buffer, SCSI_SENSE_BUFFERSIZE);
	*resid = cmd->resid_len;
	result = cmd->result;
out:
	blk_mq_free_request(req);
	return result;
}

static void alua_command_work(struct work_struct *work)
{
	struct alua_slot *slot = container_of(work, struct alua_slot, work);
	const struct alua_command *command = &slot->command;
	unsigned int length = max_t(unsigned int, command->data_in_len, command->data_out_len);
	struct scsi_device *sdev = slot->sdev;
	struct alua_unit *unit = slot->unit;
	u8 sense[SCSI_SENSE_BUFFERSIZE] = { 0 };
	unsigned int resid = 0;
	int result = -ENOMEM;
	size_t received = 0;
	unsigned long flags;
	u8 *buffer = NULL;

	if (length)
		buffer = kzalloc(length, GFP_NOIO);
	if (buffer || !length) {
		if (command->data_out_len)
			memcpy(buffer, command->data_out, command->data_out_len);
		result = alua_execute(slot, buffer, length, sense, &resid);
		if (resid <= command->data_in_len)
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
	/* alua_command_wants_room() reads them without the lock. */
	WRITE_ONCE(slot->sdev, path->sdev);
	WRITE_ONCE(slot->room, msecs_to_jiffies(command->room_ms));
	slot->command = *command;
	slot->put_back = READ_ONCE(path->put_back);
	kref_get(&unit->ref);
	queue_work(alua_commands, &slot->work);
}
