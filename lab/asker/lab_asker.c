// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Asks a device handler for activations as dm-multipath does, with a function to be called at the end,
 * and counts these calls and what they say; and hands it parameters as a table of dm's does. For guests
 * of the lab only.
 *
 *   echo H:C:T:L NUMBER > /sys/module/lab_asker/parameters/ask
 *   echo H:C:T:L NUMBER > /sys/module/lab_asker/parameters/set	so often "optimize_stpg 0"
 *   cat /sys/module/lab_asker/parameters/told		asked=N told=N again=N ok=N
 *
 * told: activations that ended; again: calls for one that had ended before; ok: those that ended with
 * SCSI_DH_OK. It cannot be unloaded: a handler that calls late finds it there.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_dh.h>
#include <scsi/scsi_host.h>

#define LAB_ASKS 65536

static atomic_t calls[LAB_ASKS];	/* for each activation */
static atomic_t asked, told, again, ok;

static void lab_told(void *data, int result)
{
	if (atomic_inc_return((atomic_t *)data) > 1) {
		atomic_inc(&again);
		return;
	}
	/* Before told: who sees that it has ended sees how. */
	if (result == SCSI_DH_OK)
		atomic_inc(&ok);
	smp_mb__before_atomic();
	atomic_inc(&told);
}

/* The device of a "H:C:T:L NUMBER", to be put; or an error. */
static struct scsi_device *lab_device(const char *text, unsigned int *number)
{
	unsigned int host, channel, target;
	struct scsi_device *sdev;
	struct Scsi_Host *shost;
	u64 lun;

	if (sscanf(text, "%u:%u:%u:%llu %u", &host, &channel, &target, &lun, number) != 5)
		return ERR_PTR(-EINVAL);
	shost = scsi_host_lookup(host);
	if (!shost)
		return ERR_PTR(-ENODEV);
	sdev = scsi_device_lookup(shost, channel, target, lun);
	scsi_host_put(shost);
	return sdev ?: ERR_PTR(-ENODEV);
}

/* Uses the device of the text so often, until that fails. */
static int lab_repeat(const char *text, int (*use)(struct scsi_device *))
{
	struct scsi_device *sdev;
	unsigned int number;
	int err = 0;

	sdev = lab_device(text, &number);
	if (IS_ERR(sdev))
		return PTR_ERR(sdev);
	while (number-- && !err) {
		err = use(sdev);
		cond_resched();
	}
	scsi_device_put(sdev);
	return err;
}

static int lab_ask_once(struct scsi_device *sdev)
{
	int ask = atomic_inc_return(&asked) - 1;

	if (ask >= LAB_ASKS) {
		atomic_dec(&asked);
		return -ENOSPC;
	}
	/* What it gives is told to the function too. */
	scsi_dh_activate(sdev->request_queue, lab_told, &calls[ask]);
	return 0;
}

static int lab_ask(const char *text, const struct kernel_param *parameter)
{
	return lab_repeat(text, lab_ask_once);
}

/* What dm hands over: how many, and each behind a zero byte. */
static int lab_set_once(struct scsi_device *sdev)
{
	return scsi_dh_set_params(sdev->request_queue, "1\0" "0");
}

static int lab_set(const char *text, const struct kernel_param *parameter)
{
	return lab_repeat(text, lab_set_once);
}

static int lab_show(char *text, const struct kernel_param *parameter)
{
	int ended = atomic_read(&told);

	/* Pairs with the barrier in lab_told(). */
	smp_rmb();
	return sysfs_emit(text, "asked=%d told=%d again=%d ok=%d\n", atomic_read(&asked), ended,
			  atomic_read(&again), atomic_read(&ok));
}

static const struct kernel_param_ops lab_ask_ops = { .set = lab_ask };
static const struct kernel_param_ops lab_set_ops = { .set = lab_set };
static const struct kernel_param_ops lab_told_ops = { .get = lab_show };

module_param_cb(ask, &lab_ask_ops, NULL, 0200);
module_param_cb(set, &lab_set_ops, NULL, 0200);
module_param_cb(told, &lab_told_ops, NULL, 0400);

static int __init lab_init(void)
{
	return 0;
}
module_init(lab_init);

MODULE_DESCRIPTION("Uses SCSI device handlers as dm-multipath does, for tests");
MODULE_LICENSE("Dual MIT/GPL");
