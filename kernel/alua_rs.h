/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The border to the Rust half: structures, numbers, entry points. rust/src/abi.rs is the same in
 * Rust, and a test compares the two.
 *
 * Every function that takes a unit is called with unit->lock held and interrupts off, or before the
 * unit is in a list and anybody else can know it. None sleeps, allocates or calls back.
 */
#ifndef ALUA_RS_H
#define ALUA_RS_H

#include <linux/build_bug.h>
#include <linux/types.h>

#define ALUA_SLOTS 6
#define ALUA_DATA_OUT_BYTES 68
#define ALUA_NAME_BYTES 255

struct alua_config {
	u32 transition_at_least_ms;
	u32 reprobe_ms;
	u32 idle_probe_ms;
	u8 optimize;
	u8 reserved[3];
};

#define ALUA_ID_OK 0
#define ALUA_ID_OFF 1
#define ALUA_ID_OFF_WITH_GROUP 2
#define ALUA_ID_NO_GROUP 3
#define ALUA_ID_BAD_PAGE 4

struct alua_identity {
	u32 name_hash;
	s32 group;
	s32 relative_port;
	u8 verdict;
	u8 has_name;
	u8 tpgs;
	u8 reserved;
};

struct alua_command {
	u8 slot;
	u8 cdb_len;
	u16 room_ms;
	u16 path;
	u16 data_out_len;
	u32 data_in_len;
	u32 timeout_ms;
	u8 cdb[16];
	u8 data_out[ALUA_DATA_OUT_BYTES];
};

#define ALUA_CAUSE_NEVER 0
#define ALUA_CAUSE_OFF 1
#define ALUA_CAUSE_NO_GROUP 2
#define ALUA_CAUSE_REPORT 3
#define ALUA_CAUSE_SENSE 4
#define ALUA_CAUSE_EXPIRED 5
#define ALUA_CAUSE_ABSENT 6
#define ALUA_CAUSE_READY 7
#define ALUA_CAUSE_NO_PATH 16
#define ALUA_CAUSE_NOT_SUBMITTED 17
#define ALUA_CAUSE_TRANSPORT 18
#define ALUA_CAUSE_TIMEOUT 19
#define ALUA_CAUSE_UNSUPPORTED 20
#define ALUA_CAUSE_BAD_SENSE 21
#define ALUA_CAUSE_STATUS 22
#define ALUA_CAUSE_MALFORMED 23
#define ALUA_CAUSE_TOO_LONG 24
#define ALUA_CAUSE_ATTENTIONS 25
#define ALUA_CAUSE_DOUBT 26

struct alua_cause {
	u8 kind;
	u8 key;
	u8 asc;
	u8 ascq;
	u16 path;
	u8 status;
	u8 reserved;
	u32 detail;
};

#define ALUA_UNKNOWN 0xff
#define ALUA_ACCESS_UNKNOWN 0x05
#define ALUA_NO_PATH 0xffff

#define ALUA_EV_GROUP 1
#define ALUA_EV_PATH 2
#define ALUA_EV_GATE 3
#define ALUA_EV_IDENTITY 4
#define ALUA_EV_FAILED 5
#define ALUA_EV_ACTIVATION 6
#define ALUA_EV_NOT_STORED 7
#define ALUA_EV_CAPACITY 8

#define ALUA_GATE_PASS 0
#define ALUA_GATE_HOLD 1
#define ALUA_GATE_REFUSE 2

/* hold_most_ms: from the first of several events that hold the gate of a path, one after another. */
struct alua_event {
	u8 kind;
	u8 from;
	u8 to;
	u8 preferred;
	u8 gate;
	u8 access_state;
	u8 resend;
	u8 log;
	u16 path;
	u16 group;
	u16 hold_most_ms;
	u16 reserved2;
	u32 activation;
	s32 result;
	struct alua_cause cause;
};

#define ALUA_ACT_RUNS 0
#define ALUA_ACT_DONE 1
#define ALUA_ACT_LATER 2

struct alua_activation {
	u32 kind;
	u32 id;
	s32 result;
};

#define ALUA_ADD_OK 0
#define ALUA_ADD_GROW 1
#define ALUA_ADD_OTHER 2

#define ALUA_RESCAN_KEEP 0
#define ALUA_RESCAN_MOVE 1

struct alua_unit_view {
	u32 rtpg;
	u32 stpg;
	u32 tur;
	u32 identity_reads;
	u32 coalesced;
	u32 old_news;
	u32 refresh_failures;
	u32 transition_limit_ms;
	s64 report_age_ms;
	s64 deadline_ms;
	struct alua_cause failure;
	u8 tpgs;
	u8 busy;
	u8 extended_header;
	u8 name_kind;
	u32 retries;
};

struct alua_group_view {
	u16 id;
	u8 state;
	u8 preferred;
	u8 supported;
	u8 transition;
	u8 reserved[2];
	s64 deadline_ms;
	struct alua_cause cause;
};

struct alua_path_view {
	s32 group;
	s32 relative_port;
	u8 state;
	u8 gate;
	u8 identity;
	u8 transport;
	struct alua_cause cause;
};

static_assert(sizeof(struct alua_config) == 16);
static_assert(sizeof(struct alua_identity) == 16);
static_assert(sizeof(struct alua_command) == 100);
static_assert(sizeof(struct alua_cause) == 12);
static_assert(sizeof(struct alua_event) == 36);
static_assert(sizeof(struct alua_activation) == 12);
static_assert(sizeof(struct alua_unit_view) == 72);
static_assert(sizeof(struct alua_group_view) == 32);
static_assert(sizeof(struct alua_path_view) == 24);

/* Without a unit: no lock, any context. rust/src/entry.rs documents each. */
size_t alua_rs_unit_bytes(u16 groups, u16 paths);
void alua_rs_identify(const u8 *page, size_t length, u8 type, u8 tpgs, struct alua_identity *answer);
bool alua_rs_unit_init(void *block, u16 groups, u16 paths, const u8 *page, size_t length, u8 type,
		       u8 tpgs, const struct alua_config *config);
bool alua_rs_sense_matters(u8 key, u8 asc, u8 ascq);

/* With a unit: unit->lock held, or the unit not yet in the list. name: ALUA_NAME_BYTES, initialised. */
bool alua_rs_unit_grow(void *unit, void *block, u16 groups, u16 paths);
bool alua_rs_unit_is(const void *unit, const u8 *page, size_t length);
int alua_rs_path_add(void *unit, const u8 *page, size_t length, u64 now, u16 *place);
void alua_rs_path_remove(void *unit, u16 place, u64 now);
int alua_rs_path_rescan(void *unit, u16 place, u8 type, u8 tpgs, const u8 *page, size_t length,
			u64 now);
int alua_rs_sense(void *unit, u16 place, u8 key, u8 asc, u8 ascq, u64 now);
bool alua_rs_poll_command(void *unit, u64 now, struct alua_command *command);
void alua_rs_complete(void *unit, u8 slot, int result, const u8 *sense, size_t sense_length,
		      const u8 *data, size_t length, u64 now);
bool alua_rs_poll_event(void *unit, struct alua_event *event);
bool alua_rs_delay(void *unit, u64 now, u64 *delay);
void alua_rs_activate(void *unit, u16 place, u64 now, struct alua_activation *answer);
void alua_rs_set_optimize(void *unit, bool optimize);
void alua_rs_unit_view(void *unit, u64 now, struct alua_unit_view *view);
u8 alua_rs_unit_name(const void *unit, u8 *name);
bool alua_rs_group_view(const void *unit, u16 position, u64 now, struct alua_group_view *view);
bool alua_rs_path_view(const void *unit, u16 place, struct alua_path_view *view);

#endif
