// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Asks a device handler for activations as dm-multipath does, with a function to be called at the end,
 * and counts these calls. For guests of the lab only.
 *
 *   echo H:C:T:L NUMBER > /sys/module/lab_asker/parameters/ask
 *   cat /sys/module/lab_asker/parameters/told		asked=N told=N again=N
 *
 * told: activations that ended; again: calls for one that had ended before. It cannot be unloaded: a
 * handler that calls late finds it there.
 */
#include <linux/atomic.h>
#include <linux/module.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_dh.h>
#include <scsi/scsi_host.h>

#define LAB_ASKS 65536

static atomic_t calls[LAB_ASKS];	/* for each activation */
static atomic_t asked, told, again;

static void lab_told(void *data, int result)
{
	atomic_inc(atomic_inc_return((atomic_t *)data) == 1 ? &told : &again);
}

static int lab_ask(const char *text, const struct kernel_param *parameter)
{
	unsigned int host, channel, target, number;
	struct scsi_device *sdev;
	struct Scsi_Host *shost;
	int err = 0;
	u64 lun;

	if (sscanf(text, "%u:%u:%u:%llu %u", &host, &channel, &target, &lun, &number) != 5)
		return -EINVAL;
	shost = scsi_host_lookup(host);
	if (!shost)
		return -ENODEV;
	sdev = scsi_device_lookup(shost, channel, target, lun);
	scsi_host_put(shost);
	if (!sdev)
		return -ENODEV;
	while (number--) {
		int ask = atomic_inc_return(&asked) - 1;

		if (ask >= LAB_ASKS) {
			atomic_dec(&asked);
			err = -ENOSPC;
			break;
		}
		/* What it gives is told to the function too. */
		scsi_dh_activate(sdev->request_queue, lab_told, &calls[ask]);
	}
	scsi_device_put(sdev);
	return err;
}

static int lab_show(char *text, const struct kernel_param *parameter)
{
	return sysfs_emit(text, "asked=%d told=%d again=%d\n", atomic_read(&asked),
			  atomic_read(&told), atomic_read(&again));
}

static const struct kernel_param_ops lab_ask_ops = { .set = lab_ask };
static const struct kernel_param_ops lab_told_ops = { .get = lab_show };

module_param_cb(ask, &lab_ask_ops, NULL, 0200);
module_param_cb(told, &lab_told_ops, NULL, 0400);

static int __init lab_init(void)
{
	return 0;
}
module_init(lab_init);

MODULE_DESCRIPTION("Asks SCSI device handlers for activations, for tests");
MODULE_LICENSE("Dual MIT/GPL");
