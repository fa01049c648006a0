//! A device that is told what to do, for tests: it holds requests until it is told to let them go,
//! fails them, and remembers what it saw.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{BlockDevice, BlockError, Completion, Geometry, MemoryDevice, Operation, Request};

/// A request that a [`ScriptedDevice`] holds.
#[derive(Debug)]
pub struct Held {
    /// The request.
    pub request: Request,
    /// What ends it.
    pub completion: Completion,
}

#[derive(Default)]
struct State {
    holding: bool,
    held: VecDeque<Held>,
    failures: VecDeque<(Operation, BlockError)>,
    seen: Vec<Request>,
}

/// A device in memory that holds, fails or abandons requests on demand.
pub struct ScriptedDevice {
    memory: MemoryDevice,
    geometry: Geometry,
    state: Mutex<State>,
    arrived: Condvar,
}

impl ScriptedDevice {
    /// A device that serves everything from `memory` until it is told otherwise.
    #[must_use]
    pub fn new(memory: MemoryDevice) -> Self {
        let geometry = memory.geometry();
        Self { memory, geometry, state: Mutex::default(), arrived: Condvar::new() }
    }

    /// The same with another geometry, which the memory has to be able to serve.
    #[must_use]
    pub const fn with_geometry(mut self, geometry: Geometry) -> Self {
        self.geometry = geometry;
        self
    }

    /// Holds every request from now on, or lets new ones pass again. Held ones stay held.
    pub fn hold(&self, holding: bool) {
        self.lock().holding = holding;
    }

    /// Takes the held requests, oldest first.
    #[must_use]
    pub fn take_held(&self) -> Vec<Held> {
        self.lock().held.drain(..).collect()
    }

    /// Serves every held request, the newest first, so that replies come out of order.
    pub fn release(&self) {
        for held in self.take_held().into_iter().rev() {
            self.memory.submit(held.request, held.completion);
        }
    }

    /// Lets the next request of that operation fail.
    pub fn fail_next(&self, operation: Operation, error: BlockError) {
        self.lock().failures.push_back((operation, error));
    }

    /// What was submitted, in that order, without the data.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        self.lock().seen.clone()
    }

    /// Waits until at least `count` requests are held; false when that took longer than `limit`.
    #[must_use]
    pub fn wait_held(&self, count: usize, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        while state.held.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.arrived.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockDevice for ScriptedDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: Request, completion: Completion) {
        let mut state = self.lock();
        state.seen.push(request.without_its_data());
        let failure = state.failures.iter().position(|(of, _)| *of == request.operation);
        if let Some(index) = failure {
            let error = state.failures.remove(index).map_or(BlockError::Io, |(_, error)| error);
            drop(state);
            return completion.complete(Err(error));
        }
        if state.holding {
            state.held.push_back(Held { request, completion });
            drop(state);
            self.arrived.notify_all();
            return;
        }
        drop(state);
        self.memory.submit(request, completion);
    }
}

impl fmt::Debug for ScriptedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedDevice").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}
