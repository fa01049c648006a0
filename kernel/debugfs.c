// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * /sys/kernel/debug/alua/units: every unit with its counters, groups and paths, one line each,
 * words of the form name=value. A blank in a value is written \040, as in /proc/mounts, so that a
 * line can be split at blanks; but the last word of a line, why="...", is a sentence for people.
 * And /sys/kernel/debug/alua/activations.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "glue.h"

static struct dentry *alua_debugfs;

static void alua_show_groups(struct seq_file *file, struct alua_unit *unit)
{
	static const char * const transitions[] = { "none", "running", "expired" };
	struct alua_group_view view;
	char text[96];
	u16 position;

	for (position = 0; alua_rs_group_view(unit->core, position, alua_now(), &view); position++) {
		alua_cause_text(unit, &view.cause, text, sizeof(text));
		seq_printf(file,
			   "  group id=%u state=%s preferred=%u supported=%02x transition=%s deadline_ms=%lld why=\"%s\"\n",
			   view.id, alua_state_name(view.state), view.preferred, view.supported,
			   transitions[min_t(int, view.transition, 2)], view.deadline_ms, text);
	}
}

static void alua_show_paths(struct seq_file *file, struct alua_unit *unit)
{
	static const char * const gates[] = { "pass", "hold", "refuse" };
	static const char * const identities[] = { "verified", "in-doubt", "unreadable", "changed" };
	static const char * const transports[] = { "untried", "answered", "failed" };
	struct alua_path_view view;
	char text[96];
	u16 place;

	for (place = 0; place < unit->paths_max; place++) {
		if (!unit->paths[place] || !alua_rs_path_view(unit->core, place, &view))
			continue;
		alua_cause_text(unit, &view.cause, text, sizeof(text));
		seq_printf(file,
			   "  path device=%s group=%d port=%d state=%s gate=%s identity=%s transport=%s why=\"%s\"\n",
			   dev_name(&unit->paths[place]->sdev->sdev_gendev), view.group,
			   view.relative_port, alua_state_name(view.state),
			   gates[min_t(int, view.gate, 2)], identities[min_t(int, view.identity, 3)],
			   transports[min_t(int, view.transport, 2)], text);
	}
}

static void alua_show_unit(struct seq_file *file, struct alua_unit *unit)
{
	static const char * const modes[] = { "off", "implicit", "explicit", "both" };
	static const char * const headers[] = { "unknown", "yes", "no" };
	struct alua_unit_view view;
	char text[96] = "";

	alua_rs_unit_view(unit->core, alua_now(), &view);
	if (view.failure.kind)
		alua_cause_text(unit, &view.failure, text, sizeof(text));
	seq_puts(file, "unit name=");
	/* Already with escapes for all but printable characters, as the log has it. */
	seq_escape(file, unit->label, " ");
	seq_printf(file,
		   " tpgs=%s busy=%u limit_ms=%u extended=%s report_age_ms=%lld deadline_ms=%lld rtpg=%u stpg=%u tur=%u vpd=%u coalesced=%u old_news=%u failures=%u retries=%u bytes=%zu why=\"%s\"\n",
		   modes[view.tpgs & 3], view.busy, view.transition_limit_ms,
		   headers[min_t(int, view.extended_header, 2)], view.report_age_ms,
		   view.deadline_ms, view.rtpg, view.stpg, view.tur, view.identity_reads,
		   view.coalesced, view.old_news, view.refresh_failures, view.retries,
		   alua_rs_unit_bytes(unit->groups_max, unit->paths_max) + sizeof(*unit), text);
	alua_show_groups(file, unit);
	alua_show_paths(file, unit);
}

static int units_show(struct seq_file *file, void *unused)
{
	struct alua_unit *unit;
	unsigned long flags;

	mutex_lock(&alua_units_lock);
	list_for_each_entry(unit, &alua_units, entry) {
		spin_lock_irqsave(&unit->lock, flags);
		alua_show_unit(file, unit);
		spin_unlock_irqrestore(&unit->lock, flags);
	}
	mutex_unlock(&alua_units_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(units);

/* Of the whole module, since it was loaded: those that were taken and not told are under way. */
static int activations_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "taken=%ld told=%ld\n", atomic_long_read(&alua_waits_taken),
		   atomic_long_read(&alua_waits_told));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(activations);

void alua_debugfs_init(void)
{
	/* Errors are not checked, as debugfs asks: without it the file is missing, no more. */
	alua_debugfs = debugfs_create_dir("alua", NULL);
	debugfs_create_file("units", 0400, alua_debugfs, NULL, &units_fops);
	debugfs_create_file("activations", 0400, alua_debugfs, NULL, &activations_fops);
}

void alua_debugfs_exit(void)
{
	debugfs_remove_recursive(alua_debugfs);
}
