/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The glue: what a logical unit and a path are to the kernel. No file of the glue decides anything
 * about ALUA; each carries out what the Rust half says.
 *
 * Locks, outer before inner:
 *   alua_units_lock   mutex: the list of units; paths join and leave. Memory is got under it without
 *                     I/O (memalloc_noio_save()): a work of WQ_MEM_RECLAIM can wait for it
 *   unit->lock        spinlock, interrupts off: the Rust half's state, and all else in the unit
 *
 * Lifetimes: a unit is held by each of its paths, by its queued work and by each command that runs
 * (unit->ref), and freed after an RCU grace period. A path is freed after a grace period too, so
 * under rcu_read_lock() sdev->handler_data, its unit and the unit's lock stay valid; whether the
 * path is still in the unit is seen under the lock (alua_path_lock()).
 */
#ifndef ALUA_GLUE_H
#define ALUA_GLUE_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_dh.h>

#include "alua_rs.h"

struct seq_file;

/* A command of the unit; slot->command and slot->sdev belong to the work from start to end. */
struct alua_slot {
	struct work_struct work;
	struct alua_unit *unit;
	struct scsi_device *sdev;
	unsigned long waits;		/* since when for a free request, in jiffies; 0: it does not */
	unsigned long room;		/* how long until one that is held makes room, in jiffies */
	unsigned long put_back;		/* of the path, when the command was started */
	struct alua_command command;
};

struct alua_unit {
	struct kref ref;
	struct rcu_head rcu;
	struct list_head entry;		/* in alua_units, under alua_units_lock */
	u32 name_hash;			/* these two never change */
	bool has_name;
	char label[64];			/* for people; never changes */

	spinlock_t lock;		/* all below */
	void *core;			/* the Rust half's block */
	struct alua_path **paths;	/* by place */
	u16 groups_max;
	u16 paths_max;
	u16 count;			/* of paths */
	struct list_head running;	/* activations: of a known number, */
	struct list_head later;		/* to be asked for again, */
	struct list_head ended;		/* and to be told, by unit->work */
	struct delayed_work work;
	struct alua_slot slots[ALUA_SLOTS];
};

struct alua_path {
	struct scsi_device *sdev;
	struct alua_unit *unit;
	u16 place;
	u8 gate;			/* ALUA_GATE_*: written under unit->lock, read by prep_fn */
	unsigned long held_until;	/* in jiffies; written before the gate says ALUA_GATE_HOLD */
	unsigned long put_back;		/* when a command was, on our word, in jiffies; 0: never */
	struct rcu_head rcu;
};

/* Someone who waits for an activation. */
struct alua_wait {
	struct list_head entry;
	struct alua_path *path;		/* valid as long as the wait is in unit->later */
	u32 id;
	int result;
	activate_complete fn;
	void *data;
};

/* A device's own page 83h and what it says. */
struct alua_page {
	u8 *data;
	size_t length;
	u8 type;
	u8 tpgs;
	struct alua_identity identity;
};

extern struct mutex alua_units_lock;
extern struct list_head alua_units;
extern struct workqueue_struct *alua_commands;	/* works that wait for a target */
extern struct workqueue_struct *alua_timers;	/* units' works, which wait for nobody */

/* Activations that were taken, and those whose waiters were told. */
extern atomic_long_t alua_waits_taken, alua_waits_told;

static inline u64 alua_now(void)
{
	return ktime_to_ms(ktime_get());
}

/* unit.c */
void alua_config_get(struct alua_config *config);
int alua_page_get(struct scsi_device *sdev, struct alua_page *page);
void alua_page_put(struct alua_page *page);
int alua_path_join(struct alua_path *path, const struct alua_page *page);
void alua_path_leave(struct alua_path *path);
void alua_unit_put(struct alua_unit *unit);
void alua_unit_poll(struct alua_unit *unit);
void alua_unit_arm(struct alua_unit *unit);

/* command.c */
void alua_slot_init(struct alua_unit *unit, struct alua_slot *slot);
void alua_command_start(struct alua_unit *unit, const struct alua_command *command);
bool alua_command_wants_room(struct alua_unit *unit, const struct scsi_device *sdev);

/* event.c */
void alua_event(struct alua_unit *unit, const struct alua_event *event);
const char *alua_state_name(u8 state);
int alua_cause_text(struct alua_unit *unit, const struct alua_cause *cause, char *text, int size);

/* debugfs.c */
void alua_debugfs_init(void);
void alua_debugfs_exit(void);

#endif
