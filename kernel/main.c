// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The device handler "alua" on the Rust driver core: registration and the handler's operations.
 */
#define pr_fmt(fmt) "alua: " fmt

#include <linux/blk-mq.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_eh.h>

#include "glue.h"

/* rust/src/map.rs has these numbers. */
static_assert(NEEDS_RETRY == 0x2001);
static_assert(ADD_TO_MLQUEUE == 0x2006);
static_assert(SCSI_RETURN_NOT_HANDLED == 0x2008);
static_assert(SCSI_DH_OK == 0);
static_assert(SCSI_DH_DEV_TEMP_BUSY == 2);
static_assert(SCSI_DH_NOTCONN == 5);
static_assert(SCSI_DH_IO == 8);
static_assert(SCSI_DH_RETRY == 10);
static_assert(SCSI_DH_RES_TEMP_UNAVAIL == 13);
static_assert(SCSI_DH_DEV_OFFLINED == 14);
static_assert(SCSI_SENSE_BUFFERSIZE == 96);

static bool optimize_stpg;
module_param(optimize_stpg, bool, 0644);
MODULE_PARM_DESC(optimize_stpg,
		 "Leave a live group alone that is not preferred, where the target also manages itself (default: off)");

static unsigned int transition_secs;
module_param(transition_secs, uint, 0644);
MODULE_PARM_DESC(transition_secs,
		 "Let every transition take at least so many seconds (default 0: as the target says, else 255)");

static unsigned int reprobe_secs = 30;
module_param(reprobe_secs, uint, 0644);
MODULE_PARM_DESC(reprobe_secs,
		 "Look again after so many seconds at a unit that is stuck or cannot be read (default 30)");

static unsigned int idle_probe_secs;
module_param(idle_probe_secs, uint, 0644);
MODULE_PARM_DESC(idle_probe_secs,
		 "Send TEST UNIT READY to one idle path of each unit every so many seconds (default 0: never)");

/* The parameters as they are now; they hold for units that are found from now on. */
void alua_config_get(struct alua_config *config)
{
	*config = (struct alua_config) {
		.transition_at_least_ms = min(READ_ONCE(transition_secs), 86400U) * 1000,
		.reprobe_ms = min(READ_ONCE(reprobe_secs), 86400U) * 1000,
		.idle_probe_ms = min(READ_ONCE(idle_probe_secs), 86400U) * 1000,
		.optimize = READ_ONCE(optimize_stpg),
	};
}

/*
 * The path of a device with its unit locked, or NULL with nothing locked: then the device is between
 * two units (alua_move()), or could not be put into another. Under rcu_read_lock(), which keeps both
 * from being freed, for a path leaves its unit only when handler_data does not lead to it any more;
 * the lock tells whether it is still in the unit.
 */
static struct alua_path *alua_path_lock(struct scsi_device *sdev, unsigned long *flags)
{
	struct alua_path *path = READ_ONCE(sdev->handler_data);

	if (!path)
		return NULL;
	spin_lock_irqsave(&path->unit->lock, *flags);
	if (path->unit->paths[path->place] == path) {
		/* For sparse, which knows no lock that is taken or not: see alua_path_unlock(). */
		__release(&path->unit->lock);
		return path;
	}
	spin_unlock_irqrestore(&path->unit->lock, *flags);
	return NULL;
}

/* Carries out what an input brought, and unlocks. */
static void alua_path_unlock(struct alua_path *path, unsigned long flags)
{
	struct alua_unit *unit = path->unit;

	__acquire(&unit->lock);
	alua_unit_poll(unit);
	alua_unit_arm(unit);
	spin_unlock_irqrestore(&unit->lock, flags);
}

static void alua_log_attach(struct scsi_device *sdev, const struct alua_page *page,
			    const struct alua_unit *unit)
{
	static const char * const modes[] = { "no", "implicit", "explicit", "implicit and explicit" };
	const struct alua_identity *identity = &page->identity;

	if (identity->group >= 0)
		sdev_printk(KERN_INFO, sdev, "alua: %s, group %d, port %d, %s\n", unit->label,
			    identity->group, identity->relative_port, modes[identity->tpgs & 3]);
	else
		sdev_printk(KERN_WARNING, sdev,
			    "alua: %s, page 83h %s: I/O passes, rescan the device when it does\n",
			    unit->label,
			    identity->verdict == ALUA_ID_BAD_PAGE ? "cannot be understood" :
								    "names no target port group");
}

/* Why a path could not join a unit, as SCSI_DH_*. */
static int alua_join_result(int err)
{
	switch (err) {
	case 0:
		return SCSI_DH_OK;
	case -ENOMEM:
		return SCSI_DH_NOMEM;
	case -ENOSPC:
		/* The unit has as many paths as it can. */
		return SCSI_DH_RES_TEMP_UNAVAIL;
	default:
		return SCSI_DH_IO;
	}
}

/* Process context, no lock. Gives SCSI_DH_*. */
static int alua_attach(struct scsi_device *sdev)
{
	struct alua_page page;
	struct alua_path *path;
	int err;

	if (alua_page_get(sdev, &page))
		return SCSI_DH_NOMEM;
	if (page.identity.verdict == ALUA_ID_OFF_WITH_GROUP)
		sdev_printk(KERN_INFO, sdev,
			    "alua: page 83h names target port group %d, but TPGS is 0: switch ALUA on in the array for this host\n",
			    page.identity.group);
	err = SCSI_DH_DEV_UNSUPP;
	if (page.identity.verdict == ALUA_ID_OFF || page.identity.verdict == ALUA_ID_OFF_WITH_GROUP)
		goto out;
	err = SCSI_DH_NOMEM;
	path = kzalloc(sizeof(*path), GFP_KERNEL);
	if (!path)
		goto out;
	path->sdev = sdev;
	err = alua_join_result(alua_path_join(path, &page));
	if (err != SCSI_DH_OK) {
		kfree(path);
		goto out;
	}
	alua_log_attach(sdev, &page, path->unit);
	smp_store_release(&sdev->handler_data, path);
out:
	alua_page_put(&page);
	return err;
}

/*
 * Takes a device out of its unit, if it has one. Process context. handler_data is cleared first: the
 * unit of the last path is freed a grace period after it was left, and who finds the path after that
 * would use it.
 */
static void alua_leave(struct scsi_device *sdev)
{
	struct alua_path *path = sdev->handler_data;

	if (!path)
		return;
	WRITE_ONCE(sdev->handler_data, NULL);
	alua_path_leave(path);
	kfree_rcu(path, rcu);
}

/* Process context, from the release of the device. */
static void alua_detach(struct scsi_device *sdev)
{
	alua_leave(sdev);
	sdev->access_state = SCSI_ACCESS_STATE_OPTIMAL;
}

/* Any context, interrupts on or off: the midlayer asks for every CHECK CONDITION. */
static enum scsi_disposition alua_check_sense(struct scsi_device *sdev,
					      struct scsi_sense_hdr *sense)
{
	int result = SCSI_RETURN_NOT_HANDLED;
	struct alua_path *path;
	unsigned long flags;

	if (!alua_rs_sense_matters(sense->sense_key, sense->asc, sense->ascq))
		return result;
	rcu_read_lock();
	path = alua_path_lock(sdev, &flags);
	if (path) {
		result = alua_rs_sense(path->unit->core, path->place, sense->sense_key, sense->asc,
				       sense->ascq, alua_now());
		/* Zero is for never. Before the unlock, which starts what comes of it. */
		if (result != SCSI_RETURN_NOT_HANDLED)
			WRITE_ONCE(path->put_back, jiffies | 1);
		alua_path_unlock(path, flags);
	}
	rcu_read_unlock();
	return result;
}

/*
 * Whether a request that is held can be let wait. What opens the gate is a command of ours in the
 * same queue: it finds no way into a queue that is being frozen (blk_freeze_queue_start(), which counts in
 * mq_freeze_depth, 6.1 and 6.12), which waits for this request, and no free request where all are held.
 */
static bool alua_may_wait(const struct alua_path *path, struct request *req)
{
	return !READ_ONCE(req->q->mq_freeze_depth) &&
	       time_before(jiffies, READ_ONCE(path->held_until)) &&
	       !alua_command_wants_room(path->unit, path->sdev);
}

/* What becomes of a request where the gate does not let it pass. Its registers are not for those that do. */
static noinline blk_status_t alua_stop(const struct alua_path *path, u8 gate, struct request *req)
{
	struct scsi_cmnd *cmd = blk_mq_rq_to_pdu(req);

	if (gate == ALUA_GATE_HOLD && alua_may_wait(path, req))
		return BLK_STS_RESOURCE;
	req->rq_flags |= RQF_QUIET;
	/*
	 * It ends before it was a command: the next one in its place is not as old as this one
	 * (scsi_init_command() sets the age only where the flag is not set, 6.1 and 6.12).
	 */
	cmd->flags &= ~SCMD_INITIALIZED;
	/* Both send dm to another path; the first tells others that it may work later. */
	return gate == ALUA_GATE_HOLD ? BLK_STS_AGAIN : BLK_STS_IOERR;
}

/* Any context; every request of the filesystem and of dm comes by. One word is read, no lock. */
static blk_status_t alua_prep_fn(struct scsi_device *sdev, struct request *req)
{
	blk_status_t status = BLK_STS_OK;
	const struct alua_path *path;

	rcu_read_lock();
	path = READ_ONCE(sdev->handler_data);
	if (likely(path)) {
		u8 gate = smp_load_acquire(&path->gate);

		if (unlikely(gate != ALUA_GATE_PASS))
			status = alua_stop(path, gate, req);
	}
	rcu_read_unlock();
	return status;
}

/*
 * Process context. fn is called exactly once, here or later by the unit's work; NULL from sysfs. A
 * device between two units is to be asked again later.
 */
static int alua_activate(struct scsi_device *sdev, activate_complete fn, void *data)
{
	struct alua_activation answer = { .kind = ALUA_ACT_DONE, .result = SCSI_DH_RETRY };
	struct alua_wait *wait = kmalloc(sizeof(*wait), GFP_NOIO);
	struct alua_path *path;
	unsigned long flags;

	if (!wait) {
		if (fn)
			fn(data, SCSI_DH_RES_TEMP_UNAVAIL);
		return 0;
	}
	atomic_long_inc(&alua_waits_taken);
	rcu_read_lock();
	path = alua_path_lock(sdev, &flags);
	if (path) {
		alua_rs_activate(path->unit->core, path->place, alua_now(), &answer);
		*wait = (struct alua_wait) {
			.path = path, .id = answer.id, .fn = fn, .data = data,
		};
		if (answer.kind == ALUA_ACT_RUNS)
			list_add_tail(&wait->entry, &path->unit->running);
		else if (answer.kind == ALUA_ACT_LATER)
			list_add_tail(&wait->entry, &path->unit->later);
		alua_path_unlock(path, flags);
	}
	rcu_read_unlock();
	if (answer.kind == ALUA_ACT_DONE) {
		kfree(wait);
		if (fn)
			fn(data, answer.result);
		atomic_long_inc(&alua_waits_told);
	}
	return 0;
}

/* Process context. dm hands over "1", a zero byte, and the one parameter: 0 or 1. */
static int alua_set_params(struct scsi_device *sdev, const char *params)
{
	unsigned int count, optimize;
	struct alua_path *path;
	unsigned long flags;

	if (kstrtouint(params, 10, &count) || count != 1 ||
	    kstrtouint(params + strlen(params) + 1, 10, &optimize) || optimize > 1)
		return -EINVAL;
	rcu_read_lock();
	path = alua_path_lock(sdev, &flags);
	if (path) {
		alua_rs_set_optimize(path->unit->core, optimize);
		alua_path_unlock(path, flags);
	}
	rcu_read_unlock();
	return path ? 0 : -ENXIO;
}

/*
 * Makes a new path for a device that belongs to another unit now, or has none. Process context.
 * In between the device is as one without a handler: I/O passes, sense is the midlayer's.
 */
static void alua_move(struct scsi_device *sdev, const struct alua_page *page)
{
	struct alua_path *path = kzalloc(sizeof(*path), GFP_KERNEL);
	int err;

	if (!path) {
		sdev_printk(KERN_ERR, sdev,
			    "alua: no memory to move this path to its unit: rescan the device to try again\n");
		return;
	}
	path->sdev = sdev;
	alua_leave(sdev);
	WRITE_ONCE(sdev->access_state, ALUA_ACCESS_UNKNOWN);
	err = alua_path_join(path, page);
	if (err) {
		/* It stays as one without a handler, but for its name. */
		sdev_printk(KERN_ERR, sdev,
			    "alua: no unit takes this path (error %d): its state is unknown and I/O passes; rescan the device to try again\n",
			    err);
		kfree(path);
		return;
	}
	alua_log_attach(sdev, page, path->unit);
	smp_store_release(&sdev->handler_data, path);
}

/*
 * Process context, device lock held: the SCSI core read the VPD pages again. INQUIRY data, and TPGS with
 * them, are still those of the scan: another TPGS is seen when the device was deleted and found again.
 */
static void alua_rescan(struct scsi_device *sdev)
{
	int result = ALUA_RESCAN_MOVE;
	struct alua_path *path;
	struct alua_page page;
	unsigned long flags;

	if (alua_page_get(sdev, &page)) {
		sdev_printk(KERN_ERR, sdev,
			    "alua: no memory to look at page 83h: rescan the device to try again\n");
		return;
	}
	rcu_read_lock();
	path = alua_path_lock(sdev, &flags);
	if (path) {
		result = alua_rs_path_rescan(path->unit->core, path->place, page.type, page.tpgs,
					     page.data, page.length, alua_now());
		alua_path_unlock(path, flags);
	}
	rcu_read_unlock();
	if (result == ALUA_RESCAN_MOVE)
		alua_move(sdev, &page);
	alua_page_put(&page);
}

static struct scsi_device_handler alua_handler = {
	.name = "alua",
	.module = THIS_MODULE,
	.attach = alua_attach,
	.detach = alua_detach,
	.check_sense = alua_check_sense,
	.prep_fn = alua_prep_fn,
	.activate = alua_activate,
	.set_params = alua_set_params,
	.rescan = alua_rescan,
};

/* The end of a command may have woken its unit; a unit without a path sends no command. */
static void alua_queues_destroy(void)
{
	destroy_workqueue(alua_commands);
	destroy_workqueue(alua_timers);
}

static int __init alua_init(void)
{
	int err;

	alua_timers = alloc_workqueue("alua_units", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!alua_timers)
		return -ENOMEM;
	/*
	 * A silent array has commands out for minutes. Those of others wait behind them only where there
	 * are as many as the queue takes, and units' timers not at all.
	 */
	alua_commands = alloc_workqueue("alua_commands", WQ_MEM_RECLAIM | WQ_UNBOUND,
					WQ_MAX_ACTIVE);
	if (!alua_commands) {
		destroy_workqueue(alua_timers);
		return -ENOMEM;
	}
	alua_debugfs_init();
	err = scsi_register_device_handler(&alua_handler);
	if (!err)
		return 0;
	if (err == -EBUSY)
		pr_err("another handler named alua is registered: unload scsi_dh_alua first (devices that use it keep it), or keep it from loading\n");
	alua_debugfs_exit();
	alua_queues_destroy();
	return err;
}

/* No device has the handler any more (the SCSI core holds the module for each that has). */
static void __exit alua_exit(void)
{
	scsi_unregister_device_handler(&alua_handler);
	alua_debugfs_exit();
	alua_queues_destroy();
	/* Units are freed after a grace period, by code of this module. */
	rcu_barrier();
}

module_init(alua_init);
module_exit(alua_exit);

MODULE_DESCRIPTION("SCSI device handler for ALUA, on a driver core in Rust");
MODULE_LICENSE("Dual MIT/GPL");
