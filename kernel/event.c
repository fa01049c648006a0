// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Events of the Rust half: sysfs, the gate word, activations that ended, and the log.
 */
#define pr_fmt(fmt) "alua: " fmt

#include <linux/blk-mq.h>
#include <linux/kernel.h>
#include <scsi/scsi.h>

#include "glue.h"

#define ALUA_TEXT 96

/* The states as sysfs names them. */
const char *alua_state_name(u8 state)
{
	switch (state) {
	case SCSI_ACCESS_STATE_OPTIMAL:
		return "active/optimized";
	case SCSI_ACCESS_STATE_ACTIVE:
		return "active/non-optimized";
	case SCSI_ACCESS_STATE_STANDBY:
		return "standby";
	case SCSI_ACCESS_STATE_UNAVAILABLE:
		return "unavailable";
	case SCSI_ACCESS_STATE_LBA:
		return "lba-dependent";
	case SCSI_ACCESS_STATE_OFFLINE:
		return "offline";
	case SCSI_ACCESS_STATE_TRANSITIONING:
		return "transitioning";
	case ALUA_UNKNOWN:
		return "unknown";
	default:
		return "reserved";
	}
}

static const char *alua_path_name(struct alua_unit *unit, u16 place)
{
	struct alua_path *path = place < unit->paths_max ? unit->paths[place] : NULL;

	return path ? dev_name(&path->sdev->sdev_gendev) : "a path that is gone";
}

/* What a state or a failure rests on, in words. unit->lock held. */
int alua_cause_text(struct alua_unit *unit, const struct alua_cause *cause, char *text, int size)
{
	const char *path = alua_path_name(unit, cause->path);

	switch (cause->kind) {
	case ALUA_CAUSE_OFF:
		return scnprintf(text, size, "ALUA is off");
	case ALUA_CAUSE_NO_GROUP:
		return scnprintf(text, size, "the path names no target port group");
	case ALUA_CAUSE_REPORT:
		return scnprintf(text, size, "reported through %s", path);
	case ALUA_CAUSE_SENSE:
		return scnprintf(text, size, "%s answered sense %Xh %02X/%02X", path, cause->key,
				 cause->asc, cause->ascq);
	case ALUA_CAUSE_EXPIRED:
		return scnprintf(text, size, "the transition outlived its limit of %u ms",
				 cause->detail);
	case ALUA_CAUSE_ABSENT:
		return scnprintf(text, size, "the report through %s does not list the group", path);
	case ALUA_CAUSE_READY:
		return scnprintf(text, size, "%s is ready, and no report can be read", path);
	case ALUA_CAUSE_NO_PATH:
		return scnprintf(text, size, "no path is left to ask");
	case ALUA_CAUSE_NOT_SUBMITTED:
		return scnprintf(text, size, "no path took the command");
	case ALUA_CAUSE_TRANSPORT:
		return scnprintf(text, size, "the transport failed, last on %s", path);
	case ALUA_CAUSE_TIMEOUT:
		return scnprintf(text, size, "no answer in time, last on %s", path);
	case ALUA_CAUSE_UNSUPPORTED:
		return scnprintf(text, size, "the target refuses RTPG, sense %Xh %02X/%02X",
				 cause->key, cause->asc, cause->ascq);
	case ALUA_CAUSE_BAD_SENSE:
		return scnprintf(text, size, "the target answered sense %Xh %02X/%02X", cause->key,
				 cause->asc, cause->ascq);
	case ALUA_CAUSE_STATUS:
		return scnprintf(text, size, "the target answered status %02Xh", cause->status);
	case ALUA_CAUSE_MALFORMED:
		return scnprintf(text, size, "the report is malformed at byte %u", cause->detail);
	case ALUA_CAUSE_TOO_LONG:
		return scnprintf(text, size, "the target claims a report of %u bytes",
				 cause->detail);
	case ALUA_CAUSE_ATTENTIONS:
		return scnprintf(text, size, "unit attentions took every turn, sense %Xh %02X/%02X",
				 cause->key, cause->asc, cause->ascq);
	case ALUA_CAUSE_DOUBT:
		return scnprintf(text, size, "the identity of the paths left is in doubt");
	default:
		return scnprintf(text, size, "nothing was read yet");
	}
}

static void alua_event_group(struct alua_unit *unit, const struct alua_event *event)
{
	char text[ALUA_TEXT];

	alua_cause_text(unit, &event->cause, text, sizeof(text));
	if (event->from == event->to)
		pr_info("%s group %u: %s, now %spreferred (%s)\n", unit->label, event->group,
			alua_state_name(event->to), event->preferred ? "" : "not ", text);
	else
		pr_info("%s group %u: %s -> %s%s (%s)\n", unit->label, event->group,
			alua_state_name(event->from), alua_state_name(event->to),
			event->preferred ? ", preferred" : "", text);
}

/*
 * Has the midlayer send again now what it keeps of a path. unit->lock held. Each request that is kept
 * holds the queue's counter. Who tears the queue down (__scsi_remove_device(), blk_mq_destroy_queue())
 * waits until nobody holds it, so for us too, and cancels then what is begun here; the path leaves its unit
 * before the queue is freed (scsi_device_dev_release()).
 */
static void alua_resend(const struct alua_path *path)
{
	struct request_queue *queue = path->sdev->request_queue;

	if (percpu_ref_tryget(&queue->q_usage_counter)) {
		blk_mq_kick_requeue_list(queue);
		percpu_ref_put(&queue->q_usage_counter);
	}
}

static void alua_event_path(struct alua_unit *unit, struct alua_path *path,
			    const struct alua_event *event)
{
	char text[ALUA_TEXT];

	WRITE_ONCE(path->sdev->access_state, event->access_state);
	if (event->resend)
		alua_resend(path);
	if (!event->log)
		return;
	alua_cause_text(unit, &event->cause, text, sizeof(text));
	sdev_printk(KERN_INFO, path->sdev, "alua: %s -> %s (%s)\n", alua_state_name(event->from),
		    alua_state_name(event->to), text);
}

static void alua_event_failed(struct alua_unit *unit, const struct alua_cause *cause)
{
	char text[ALUA_TEXT];

	alua_cause_text(unit, cause, text, sizeof(text));
	pr_warn("%s: the states could not be read: %s\n", unit->label, text);
}

/* Those who wait for the activation are told by unit->work. */
static void alua_event_activation(struct alua_unit *unit, const struct alua_event *event)
{
	struct alua_wait *wait, *next;

	list_for_each_entry_safe(wait, next, &unit->running, entry) {
		if (wait->id == event->activation) {
			wait->result = event->result;
			list_move_tail(&wait->entry, &unit->ended);
		}
	}
}

/* Acts on one event. unit->lock held. */
void alua_event(struct alua_unit *unit, const struct alua_event *event)
{
	struct alua_path *path = event->path < unit->paths_max ? unit->paths[event->path] : NULL;

	switch (event->kind) {
	case ALUA_EV_GROUP:
		if (event->log)
			alua_event_group(unit, event);
		break;
	case ALUA_EV_FAILED:
		if (event->log)
			alua_event_failed(unit, &event->cause);
		break;
	case ALUA_EV_ACTIVATION:
		alua_event_activation(unit, event);
		break;
	case ALUA_EV_NOT_STORED:
		pr_warn("%s: no room for %u groups without a path\n", unit->label,
			event->cause.detail);
		break;
	case ALUA_EV_PATH:
		if (path)
			alua_event_path(unit, path, event);
		break;
	case ALUA_EV_GATE:
		if (!path)
			break;
		if (event->gate == ALUA_GATE_HOLD && path->gate != ALUA_GATE_HOLD)
			WRITE_ONCE(path->held_until,
				   jiffies + msecs_to_jiffies(event->hold_most_ms));
		/* alua_prep_fn() reads both without the lock. */
		smp_store_release(&path->gate, event->gate);
		break;
	case ALUA_EV_IDENTITY:
		if (path)
			sdev_printk(KERN_ERR, path->sdev,
				    "alua: another logical unit answers here, not %s; no I/O passes until the device is rescanned\n",
				    unit->label);
		break;
	case ALUA_EV_CAPACITY:
		if (path)
			sdev_printk(KERN_NOTICE, path->sdev,
				    "alua: the capacity changed; rescan the device\n");
		break;
	}
}
