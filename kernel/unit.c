// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Units: found by the name in page 83h, joined and left by paths, polled.
 */
#define pr_fmt(fmt) "alua: " fmt

#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "glue.h"

/* Places of a new unit, and the most that it grows to. Memory only: the Rust half has no limit. */
#define ALUA_PLACES_FIRST 4
#define ALUA_PLACES_MOST 1024

DEFINE_MUTEX(alua_units_lock);
LIST_HEAD(alua_units);
struct workqueue_struct *alua_commands, *alua_timers;
atomic_long_t alua_waits_taken, alua_waits_told;

static void alua_unit_work(struct work_struct *work);

/*
 * Copies page 83h as the SCSI core keeps it. The device may have none: then its length is 0. The
 * memory is got without RCU, so that it may be waited for; a page that grew meanwhile is copied as
 * far as there is room, and its own length then tells the Rust half that it is cut off.
 */
int alua_page_get(struct scsi_device *sdev, struct alua_page *page)
{
	struct scsi_vpd *vpd;
	size_t room = 0;

	memset(page, 0, sizeof(*page));
	page->type = sdev->type;
	page->tpgs = scsi_device_tpgs(sdev);
	rcu_read_lock();
	vpd = rcu_dereference(sdev->vpd_pg83);
	if (vpd)
		room = vpd->len;
	rcu_read_unlock();
	if (room) {
		page->data = kmalloc(room, GFP_KERNEL);
		if (!page->data)
			return -ENOMEM;
	}
	rcu_read_lock();
	vpd = rcu_dereference(sdev->vpd_pg83);
	if (vpd && room) {
		page->length = min_t(size_t, room, vpd->len);
		memcpy(page->data, vpd->data, page->length);
	}
	rcu_read_unlock();
	alua_rs_identify(page->data, page->length, page->type, page->tpgs, &page->identity);
	return 0;
}

void alua_page_put(struct alua_page *page)
{
	kfree(page->data);
}

static void alua_unit_free(struct rcu_head *rcu)
{
	struct alua_unit *unit = container_of(rcu, struct alua_unit, rcu);

	kfree(unit->core);
	kfree(unit->paths);
	kfree(unit);
}

static void alua_unit_release(struct kref *ref)
{
	struct alua_unit *unit = container_of(ref, struct alua_unit, ref);

	call_rcu(&unit->rcu, alua_unit_free);
}

void alua_unit_put(struct alua_unit *unit)
{
	kref_put(&unit->ref, alua_unit_release);
}

/* Runs unit->work after a delay; the queued work holds the unit. */
static void alua_unit_wake(struct alua_unit *unit, unsigned long delay)
{
	if (!mod_delayed_work(alua_timers, &unit->work, delay))
		kref_get(&unit->ref);
}

/* Sets the timer for what comes next. unit->lock held, after alua_unit_poll(). */
void alua_unit_arm(struct alua_unit *unit)
{
	u64 delay;

	if (!list_empty(&unit->ended))
		alua_unit_wake(unit, 0);
	else if (unit->count && alua_rs_delay(unit->core, alua_now(), &delay))
		alua_unit_wake(unit, max(1UL, msecs_to_jiffies(min_t(u64, delay, INT_MAX))));
}

/* Asks again for the activations that found no room. unit->lock held. True if one was taken. */
static bool alua_unit_ask_again(struct alua_unit *unit)
{
	struct alua_activation answer;
	struct alua_wait *wait, *next;
	bool taken = false;

	list_for_each_entry_safe(wait, next, &unit->later, entry) {
		alua_rs_activate(unit->core, wait->path->place, alua_now(), &answer);
		if (answer.kind == ALUA_ACT_LATER)
			break;
		taken = true;
		wait->id = answer.id;
		wait->result = answer.result;
		list_move_tail(&wait->entry,
			       answer.kind == ALUA_ACT_RUNS ? &unit->running : &unit->ended);
	}
	return taken;
}

/*
 * Carries out what the unit wants: sends its commands and acts on its events. To be called after
 * every input, and then alua_unit_arm(). unit->lock held; never sleeps.
 */
void alua_unit_poll(struct alua_unit *unit)
{
	struct alua_command command;
	struct alua_event event;

	do {
		while (alua_rs_poll_command(unit->core, alua_now(), &command))
			alua_command_start(unit, &command);
		while (alua_rs_poll_event(unit->core, &event))
			alua_event(unit, &event);
	} while (alua_unit_ask_again(unit));
}

/* The unit's time has come, or activations have ended. Their waiters are told without a lock. */
static void alua_unit_work(struct work_struct *work)
{
	struct alua_unit *unit = container_of(to_delayed_work(work), struct alua_unit, work);
	struct alua_wait *wait, *next;
	unsigned long flags;
	LIST_HEAD(ended);

	spin_lock_irqsave(&unit->lock, flags);
	alua_unit_poll(unit);
	list_splice_init(&unit->ended, &ended);
	alua_unit_arm(unit);
	spin_unlock_irqrestore(&unit->lock, flags);

	list_for_each_entry_safe(wait, next, &ended, entry) {
		if (wait->fn)
			wait->fn(wait->data, wait->result);
		kfree(wait);
		atomic_long_inc(&alua_waits_told);
	}
	alua_unit_put(unit);
}

/* A name for people, in the form of the kernel's unique identifiers. */
static void alua_unit_label(struct alua_unit *unit, struct scsi_device *sdev)
{
	static const char * const kinds[] = { "", "t10", "eui", "naa", "name", "uuid" };
	u8 name[ALUA_NAME_BYTES] = { 0 };
	struct alua_unit_view view;
	u8 length = alua_rs_unit_name(unit->core, name);

	alua_rs_unit_view(unit->core, alua_now(), &view);
	if (!length)
		snprintf(unit->label, sizeof(unit->label), "nameless.%s",
			 dev_name(&sdev->sdev_gendev));
	else if (view.name_kind == 1 || view.name_kind == 4)
		snprintf(unit->label, sizeof(unit->label), "%s.%*pE", kinds[view.name_kind],
			 min_t(int, length, 48), name);
	else
		snprintf(unit->label, sizeof(unit->label), "%s.%*phN", kinds[view.name_kind],
			 min_t(int, length, 28), name);
}

static struct alua_unit *alua_unit_new(struct scsi_device *sdev, const struct alua_page *page)
{
	struct alua_unit *unit = kzalloc(sizeof(*unit), GFP_KERNEL);
	u16 places = ALUA_PLACES_FIRST;
	struct alua_config config;
	int slot;

	if (!unit)
		return NULL;
	kref_init(&unit->ref);
	unit->name_hash = page->identity.name_hash;
	unit->has_name = page->identity.has_name;
	spin_lock_init(&unit->lock);
	unit->groups_max = places;
	unit->paths_max = places;
	INIT_LIST_HEAD(&unit->running);
	INIT_LIST_HEAD(&unit->later);
	INIT_LIST_HEAD(&unit->ended);
	INIT_DELAYED_WORK(&unit->work, alua_unit_work);
	for (slot = 0; slot < ALUA_SLOTS; slot++)
		alua_slot_init(unit, &unit->slots[slot]);
	alua_config_get(&config);
	unit->core = kmalloc(alua_rs_unit_bytes(places, places), GFP_KERNEL);
	unit->paths = kcalloc(places, sizeof(*unit->paths), GFP_KERNEL);
	if (!unit->core || !unit->paths ||
	    !alua_rs_unit_init(unit->core, places, places, page->data, page->length, page->type,
			       page->tpgs, &config)) {
		alua_unit_free(&unit->rcu);
		return NULL;
	}
	alua_unit_label(unit, sdev);
	list_add_tail(&unit->entry, &alua_units);
	return unit;
}

/* The unit with the page's name, held once more. alua_units_lock held. */
static struct alua_unit *alua_unit_find(const struct alua_page *page)
{
	struct alua_unit *unit;
	unsigned long flags;
	bool same;

	if (!page->identity.has_name)
		return NULL;
	list_for_each_entry(unit, &alua_units, entry) {
		if (!unit->has_name || unit->name_hash != page->identity.name_hash)
			continue;
		spin_lock_irqsave(&unit->lock, flags);
		same = alua_rs_unit_is(unit->core, page->data, page->length);
		spin_unlock_irqrestore(&unit->lock, flags);
		if (same) {
			kref_get(&unit->ref);
			return unit;
		}
	}
	return NULL;
}

/* Doubles the places of a unit. alua_units_lock held, so nobody else grows it. */
static int alua_unit_grow(struct alua_unit *unit)
{
	u16 groups = unit->groups_max * 2, paths = unit->paths_max * 2;
	struct alua_path **list, **old_list;
	void *core, *old_core;
	unsigned long flags;
	bool grown;

	if (paths > ALUA_PLACES_MOST)
		return -ENOSPC;
	core = kmalloc(alua_rs_unit_bytes(groups, paths), GFP_KERNEL);
	list = kcalloc(paths, sizeof(*list), GFP_KERNEL);
	if (!core || !list) {
		kfree(core);
		kfree(list);
		return -ENOMEM;
	}
	spin_lock_irqsave(&unit->lock, flags);
	old_core = unit->core;
	old_list = unit->paths;
	grown = alua_rs_unit_grow(old_core, core, groups, paths);
	if (grown) {
		memcpy(list, old_list, unit->paths_max * sizeof(*list));
		unit->core = core;
		unit->paths = list;
		unit->groups_max = groups;
		unit->paths_max = paths;
	}
	spin_unlock_irqrestore(&unit->lock, flags);
	kfree(grown ? old_core : core);
	kfree(grown ? old_list : list);
	return grown ? 0 : -ENOSPC;
}

/* Puts a path into its unit, which the caller holds for it. alua_units_lock held. */
static int alua_unit_add(struct alua_unit *unit, struct alua_path *path,
			 const struct alua_page *page)
{
	unsigned long flags;
	int result, err = 0;

	do {
		spin_lock_irqsave(&unit->lock, flags);
		result = alua_rs_path_add(unit->core, page->data, page->length, alua_now(),
					  &path->place);
		if (result == ALUA_ADD_OK) {
			path->unit = unit;
			unit->paths[path->place] = path;
			unit->count++;
			path->sdev->access_state = ALUA_ACCESS_UNKNOWN;
			alua_unit_poll(unit);
			alua_unit_arm(unit);
		}
		spin_unlock_irqrestore(&unit->lock, flags);
		if (result == ALUA_ADD_GROW)
			err = alua_unit_grow(unit);
	} while (result == ALUA_ADD_GROW && !err);
	return result == ALUA_ADD_OTHER ? -EINVAL : err;
}

/*
 * Finds or makes the unit of a path and puts the path into it. May sleep. Memory is got without I/O:
 * the end of a command of ours can wait for the lock (alua_path_leave()), and reclaim for the command.
 */
int alua_path_join(struct alua_path *path, const struct alua_page *page)
{
	unsigned int noio = memalloc_noio_save();
	struct alua_unit *unit;
	int err = -ENOMEM;

	mutex_lock(&alua_units_lock);
	unit = alua_unit_find(page);
	if (!unit)
		unit = alua_unit_new(path->sdev, page);
	if (unit) {
		err = alua_unit_add(unit, path, page);
		if (err) {
			if (!unit->count)
				list_del(&unit->entry);
			alua_unit_put(unit);
		}
	}
	mutex_unlock(&alua_units_lock);
	memalloc_noio_restore(noio);
	return err;
}

/*
 * Takes a path out of its unit and gives up its hold. May sleep; runs in the release of the device,
 * which can be the end of one of our own works, so nothing here waits for work.
 */
void alua_path_leave(struct alua_path *path)
{
	struct alua_unit *unit = path->unit;
	struct alua_wait *wait, *next;
	unsigned long flags;

	mutex_lock(&alua_units_lock);
	spin_lock_irqsave(&unit->lock, flags);
	unit->paths[path->place] = NULL;
	unit->count--;
	alua_rs_path_remove(unit->core, path->place, alua_now());
	list_for_each_entry_safe(wait, next, &unit->later, entry) {
		if (wait->path == path) {
			wait->result = SCSI_DH_NOTCONN;
			list_move_tail(&wait->entry, &unit->ended);
		}
	}
	alua_unit_poll(unit);
	alua_unit_arm(unit);
	if (!unit->count) {
		list_del(&unit->entry);
		/* A timer that runs would hold the unit until then. */
		alua_unit_wake(unit, 0);
	}
	spin_unlock_irqrestore(&unit->lock, flags);
	mutex_unlock(&alua_units_lock);
	alua_unit_put(unit);
}
