//! The C glue in Rust: it calls the entry points as `unit.c`, `command.c` and `event.c` do, and
//! keeps what they keep. Only the kernel is missing.
#![allow(dead_code)]

use std::collections::BTreeMap;

use alua_kernel::abi::*;
use alua_kernel::entry::*;
use alua_kernel::unit::Unit;
use alua_kernel::view::*;

/// A page 83h: NAA name of the unit, relative port, group. `None` leaves a designator out.
pub(crate) fn page(unit: Option<u8>, port: u16, group: Option<u16>) -> Vec<u8> {
    let mut page = vec![0, 0x83, 0, 0];
    if let Some(unit) = unit {
        page.extend([0x01, 0x03, 0, 16, 0x60, 0x01, 0x40, 0x50]);
        page.extend([0; 11]);
        page.push(unit);
    }
    let [high, low] = port.to_be_bytes();
    page.extend([0x01, 0x14, 0, 4, 0, 0, high, low]);
    if let Some(group) = group {
        let [high, low] = group.to_be_bytes();
        page.extend([0x01, 0x15, 0, 4, 0, 0, high, low]);
    }
    let length = u16::try_from(page.len() - 4).unwrap().to_be_bytes();
    page[2..4].copy_from_slice(&length);
    page
}

/// A report with the extended header: identifier and first byte of each group.
pub(crate) fn report(groups: &[(u16, u8)]) -> Vec<u8> {
    let mut data = vec![0, 0, 0, 0, 0x10, 0, 0, 0];
    for &(id, state) in groups {
        let [high, low] = id.to_be_bytes();
        data.extend([state, 0xdf, high, low, 0, 0, 0, 1, 0, 0, high, low]);
    }
    let length = u32::try_from(data.len() - 4).unwrap().to_be_bytes();
    data[..4].copy_from_slice(&length);
    data
}

/// Fixed format sense data.
pub(crate) fn sense(key: u8, asc: u8, ascq: u8) -> [u8; 96] {
    let mut sense = [0; 96];
    sense[0] = 0x70;
    sense[2] = key;
    sense[7] = 10;
    (sense[12], sense[13]) = (asc, ascq);
    sense
}

/// What the glue keeps of a path.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) gate: u8,
    pub(crate) access_state: u8,
    pub(crate) lost: bool,
}

/// A unit with everything around it.
pub(crate) struct Glue {
    block: Vec<u64>,
    unit: *mut Unit,
    pub(crate) places: (u16, u16),
    pub(crate) ports: BTreeMap<u16, Port>,
    pub(crate) running: BTreeMap<u8, AluaCommand>,
    pub(crate) events: Vec<AluaEvent>,
    /// Activations of a known number, those to be asked for again, and how each ended.
    pub(crate) waiting: Vec<u32>,
    pub(crate) later: Vec<u16>,
    pub(crate) ended: Vec<(u32, i32)>,
    pub(crate) now: u64,
}

fn block(groups: u16, paths: u16) -> Vec<u64> {
    vec![0xa5a5_a5a5_a5a5_a5a5; alua_rs_unit_bytes(groups, paths).div_ceil(8)]
}

impl Glue {
    pub(crate) fn new(page: &[u8], tpgs: u8) -> Self {
        Self::with(page, tpgs, AluaConfig::default(), 4)
    }

    pub(crate) fn with(page: &[u8], tpgs: u8, config: AluaConfig, places: u16) -> Self {
        let mut block = block(places, places);
        let start = block.as_mut_ptr().cast::<u8>();
        // SAFETY: the block is as long as was asked for and aligned to 8.
        let made = unsafe {
            alua_rs_unit_init(start, places, places, page.as_ptr(), page.len(), 0, tpgs, &config)
        };
        assert!(made);
        Self {
            unit: start.cast(),
            block,
            places: (places, places),
            ports: BTreeMap::new(),
            running: BTreeMap::new(),
            events: Vec::new(),
            waiting: Vec::new(),
            later: Vec::new(),
            ended: Vec::new(),
            now: 1_000,
        }
    }

    pub(crate) fn is(&self, page: &[u8]) -> bool {
        // SAFETY: the unit lives; nothing else uses it.
        unsafe { alua_rs_unit_is(self.unit, page.as_ptr(), page.len()) }
    }

    /// Adds a path, growing the unit as often as that takes.
    pub(crate) fn add(&mut self, page: &[u8]) -> Result<u16, i32> {
        loop {
            let mut place = 0;
            // SAFETY: as in `is`.
            let result = unsafe {
                alua_rs_path_add(self.unit, page.as_ptr(), page.len(), self.now, &mut place)
            };
            match result {
                ALUA_ADD_OK => {
                    let access_state = ALUA_ACCESS_UNKNOWN;
                    self.ports.insert(place, Port { gate: 0, access_state, lost: false });
                    self.poll();
                    return Ok(place);
                }
                ALUA_ADD_GROW => self.grow(),
                other => return Err(other),
            }
        }
    }

    fn grow(&mut self) {
        let (groups, paths) = (self.places.0 * 2, self.places.1 * 2);
        let mut new = block(groups, paths);
        let start = new.as_mut_ptr().cast::<u8>();
        // SAFETY: as in `with`; the old block lives until after the call.
        assert!(unsafe { alua_rs_unit_grow(self.unit, start, groups, paths) });
        // What is left in the old block must not matter.
        self.block.fill(0x5a5a_5a5a_5a5a_5a5a);
        self.block = new;
        self.unit = start.cast();
        self.places = (groups, paths);
    }

    pub(crate) fn remove(&mut self, place: u16) {
        self.ports.remove(&place);
        // SAFETY: as in `is`.
        unsafe { alua_rs_path_remove(self.unit, place, self.now) };
        for _ in self.later.extract_if(.., |path| *path == place) {
            self.ended.push((u32::MAX, 5));
        }
        self.poll();
    }

    pub(crate) fn rescan(&mut self, place: u16, tpgs: u8, page: &[u8]) -> i32 {
        // SAFETY: as in `is`.
        let result = unsafe {
            alua_rs_path_rescan(self.unit, place, 0, tpgs, page.as_ptr(), page.len(), self.now)
        };
        self.poll();
        result
    }

    pub(crate) fn sense(&mut self, place: u16, key: u8, asc: u8, ascq: u8) -> i32 {
        // SAFETY: as in `is`.
        let result = unsafe { alua_rs_sense(self.unit, place, key, asc, ascq, self.now) };
        self.poll();
        result
    }

    pub(crate) fn activate(&mut self, place: u16) -> AluaActivation {
        let mut answer = AluaActivation::default();
        // SAFETY: as in `is`.
        unsafe { alua_rs_activate(self.unit, place, self.now, &mut answer) };
        match answer.kind {
            ALUA_ACT_RUNS => self.waiting.push(answer.id),
            ALUA_ACT_LATER => self.later.push(place),
            _ => self.ended.push((u32::MAX, answer.result)),
        }
        self.poll();
        answer
    }

    pub(crate) fn set_optimize(&mut self, optimize: bool) {
        // SAFETY: as in `is`.
        unsafe { alua_rs_set_optimize(self.unit, optimize) };
    }

    /// Ends the command in a slot.
    pub(crate) fn complete(&mut self, slot: u8, result: i32, sense: &[u8], data: &[u8]) {
        self.running.remove(&slot).expect("a command that runs");
        // SAFETY: as in `is`.
        unsafe {
            alua_rs_complete(
                self.unit,
                slot,
                result,
                sense.as_ptr(),
                sense.len(),
                data.as_ptr(),
                data.len(),
                self.now,
            );
        }
        self.poll();
    }

    fn poll(&mut self) {
        loop {
            self.take_commands();
            self.take_events();
            if !self.ask_again() {
                return;
            }
        }
    }

    fn take_commands(&mut self) {
        let mut command = std::mem::MaybeUninit::uninit();
        // SAFETY: as in `is`; written whenever the call gives true.
        while unsafe { alua_rs_poll_command(self.unit, self.now, command.as_mut_ptr()) } {
            // SAFETY: the call gave true.
            let command: AluaCommand = unsafe { command.assume_init() };
            let before = self.running.insert(command.slot, command);
            assert!(before.is_none(), "a slot holds one command");
            assert!(usize::from(command.slot) < SLOTS);
            if !self.ports.contains_key(&command.path) {
                self.complete(command.slot, 1 << 16, &[], &[]);
            }
        }
    }

    fn take_events(&mut self) {
        let mut event = AluaEvent::default();
        // SAFETY: as in `is`.
        while unsafe { alua_rs_poll_event(self.unit, &mut event) } {
            self.events.push(event);
            match event.kind {
                ALUA_EV_GATE => {
                    let holds = event.gate == ALUA_GATE_HOLD;
                    assert_eq!(event.hold_most_ms > 0, holds, "a hold has a limit: {event:?}");
                    if let Some(port) = self.ports.get_mut(&event.path) {
                        port.gate = event.gate;
                    }
                }
                ALUA_EV_PATH => {
                    if let Some(port) = self.ports.get_mut(&event.path) {
                        port.access_state = event.access_state;
                    }
                }
                ALUA_EV_IDENTITY => {
                    if let Some(port) = self.ports.get_mut(&event.path) {
                        port.lost = true;
                    }
                }
                ALUA_EV_ACTIVATION => {
                    for id in self.waiting.extract_if(.., |id| *id == event.activation) {
                        self.ended.push((id, event.result));
                    }
                }
                _ => {}
            }
        }
    }

    fn ask_again(&mut self) -> bool {
        let mut taken = false;
        while let Some(&place) = self.later.first() {
            let mut answer = AluaActivation::default();
            // SAFETY: as in `is`.
            unsafe { alua_rs_activate(self.unit, place, self.now, &mut answer) };
            if answer.kind == ALUA_ACT_LATER {
                break;
            }
            self.later.remove(0);
            taken = true;
            match answer.kind {
                ALUA_ACT_RUNS => self.waiting.push(answer.id),
                _ => self.ended.push((u32::MAX, answer.result)),
            }
        }
        taken
    }

    /// Lets time pass to the next deadline, if there is one in reach.
    pub(crate) fn next_deadline(&mut self, reach: u64) -> bool {
        let mut delay = 0;
        // SAFETY: as in `is`.
        let due = unsafe { alua_rs_delay(self.unit, self.now, &mut delay) };
        if !due || delay > reach {
            return false;
        }
        self.now += delay.max(1);
        self.poll();
        true
    }

    /// Answers everything with `answer`, and lets time pass, until nothing is due within a minute.
    pub(crate) fn run(&mut self, mut answer: impl FnMut(&AluaCommand) -> (i32, Vec<u8>, Vec<u8>)) {
        for _ in 0..1_000 {
            if let Some((&slot, command)) = self.running.first_key_value() {
                let (result, sense, data) = answer(command);
                self.now += 1;
                self.complete(slot, result, &sense, &data);
            } else if !self.next_deadline(60_000) {
                return;
            }
        }
        panic!("the unit never comes to rest");
    }

    /// What the unit itself says of a path now.
    pub(crate) fn path_view(&self, place: u16) -> Option<AluaPathView> {
        let mut view = AluaPathView::default();
        // SAFETY: as in `is`.
        unsafe { alua_rs_path_view(self.unit, place, &mut view) }.then_some(view)
    }

    pub(crate) fn unit_view(&mut self) -> AluaUnitView {
        let mut view = AluaUnitView::default();
        // SAFETY: as in `is`.
        unsafe { alua_rs_unit_view(self.unit, self.now, &mut view) };
        view
    }

    pub(crate) fn group_views(&self) -> Vec<AluaGroupView> {
        let mut views = Vec::new();
        let mut view = AluaGroupView::default();
        // SAFETY: as in `is`.
        while unsafe {
            alua_rs_group_view(self.unit, views.len().try_into().unwrap(), self.now, &mut view)
        } {
            views.push(view);
        }
        views
    }

    pub(crate) fn name(&self) -> Vec<u8> {
        let mut name = [0; NAME_BYTES];
        // SAFETY: as in `is`; the buffer has its length.
        let length = unsafe { alua_rs_unit_name(self.unit, &mut name) };
        name[..usize::from(length)].to_vec()
    }
}

/// The answer of a target with these groups: GOOD for everything.
pub(crate) fn well(groups: &[(u16, u8)]) -> impl FnMut(&AluaCommand) -> (i32, Vec<u8>, Vec<u8>) {
    let data = report(groups);
    move |command| match command.cdb[0] {
        0xa3 => (0, vec![], data.clone()),
        0x12 => (0, vec![], page(Some(1), 1, Some(1))),
        _ => (0, vec![], vec![]),
    }
}
