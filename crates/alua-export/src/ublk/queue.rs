//! One queue of the device: its thread.
//!
//! The kernel and the device both come to the thread through its ring: requests as completions of
//! `libublk`'s commands, outcomes through the inbox's descriptor, which the ring polls.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use io_uring::{opcode, types};
use libublk::helpers::IoBuf;
use libublk::io::{BufDescList, UblkDev, UblkIOCtx, UblkQueue};
use libublk::{BufDesc, UblkIORes, sys};
use rustix::event::{PollFd, PollFlags, poll};

use super::cdev;
use super::device::Shared;
use super::request::{self, Descriptor, Reissued};
use crate::block::{
    BlockDevice, BlockError, Completion, Geometry, Operation, Outcome, Request, Sink,
};
use crate::inbox::Inbox;

/// How many buffers wait to be used again.
const SPARE_BUFFERS: usize = 64;

/// Where the kernel's data is.
enum Data {
    /// It is copied by reading and writing the character device (`UBLK_F_USER_COPY`).
    Copied(File),
    /// The kernel copies it to and from these buffers, one for each tag.
    Buffers(Vec<IoBuf<u8>>),
}

/// A request that the device has.
#[derive(Clone, Copy, Debug)]
struct Pending {
    generation: u32,
    operation: Operation,
    length: u64,
}

/// What a queue's thread has.
struct Worker<'a> {
    shared: &'a Shared,
    device: &'a dyn BlockDevice,
    geometry: Geometry,
    data: Data,
    inbox: Arc<Inbox>,
    sink: Arc<dyn Sink>,
    /// By tag.
    pending: Vec<Option<Pending>>,
    in_flight: usize,
    generation: u32,
    reissued: Reissued,
    arrived: Vec<(u64, Outcome)>,
    spare: Vec<Vec<u8>>,
}

/// Serves a queue until the kernel takes it down.
pub(super) fn serve(shared: &Shared, number: u16, device: &UblkDev) -> Result<(), String> {
    let inbox = Arc::new(Inbox::new().map_err(|error| error.to_string())?);
    let queue = UblkQueue::new(number, device).map_err(|error| error.to_string())?;
    let copied = device.dev_info.flags & u64::from(sys::UBLK_F_USER_COPY) != 0;
    let (data, queue) = if copied {
        let file = cdev::duplicate(device).map_err(|error| error.to_string())?;
        (Data::Copied(file), queue.submit_fetch_commands_unified(BufDescList::Slices(None)))
    } else {
        let buffers = device.alloc_queue_io_bufs();
        let queue = queue.submit_fetch_commands_unified(BufDescList::Slices(Some(&buffers)));
        (Data::Buffers(buffers), queue)
    };
    let queue = queue.map_err(|error| error.to_string())?;
    let depth = device.dev_info.queue_depth;
    let mut worker = Worker {
        shared,
        device: &*shared.device,
        geometry: shared.geometry,
        data,
        sink: Arc::clone(&inbox) as Arc<dyn Sink>,
        inbox,
        pending: vec![None; usize::from(depth)],
        in_flight: 0,
        generation: 0,
        reissued: match shared.recovered {
            None => Reissued::none(depth),
            Some(recovered) => Reissued::after_recovery(depth, recovered.tags_are_kept),
        },
        arrived: Vec::new(),
        spare: Vec::new(),
    };
    worker.watch(&queue);
    // Nobody else sleeps on the inbox: from here on, whoever completes has to wake the ring.
    worker.inbox.sleeps();
    queue.wait_and_handle_io(|queue, tag, event| worker.handle(queue, tag, event));
    worker.wait_for_device(&queue);
    Ok(())
}

impl Worker<'_> {
    /// Lets the ring tell when something arrives in the inbox, once.
    fn watch(&self, queue: &UblkQueue<'_>) {
        let descriptor = types::Fd(self.inbox.descriptor().as_raw_fd());
        let events = u32::from(PollFlags::IN.bits());
        let data = UblkIOCtx::build_user_data(0, 0, 1, true);
        let entry = opcode::PollAdd::new(descriptor, events).build().user_data(data);
        if let Err(error) = queue.ublk_submit_sqe_sync(entry) {
            tracing::error!(%error, "a ublk queue cannot watch for completions");
        }
    }

    fn handle(&mut self, queue: &UblkQueue<'_>, tag: u16, event: &UblkIOCtx<'_>) {
        self.inbox.wakes();
        if event.is_tgt_io() {
            self.watch(queue);
        } else {
            self.begin(queue, tag);
        }
        loop {
            self.take_completions(queue);
            if self.inbox.sleeps() {
                break;
            }
        }
    }

    /// A request came.
    fn begin(&mut self, queue: &UblkQueue<'_>, tag: u16) {
        let io = queue.get_iod(tag);
        let descriptor =
            Descriptor { op_flags: io.op_flags, sectors: io.nr_sectors, start: io.start_sector };
        let counters = &self.shared.counters;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        let reissued = self.reissued.arrived(tag);
        let request = request::request(descriptor, &self.geometry)
            .and_then(|request| self.with_data(queue, tag, request));
        let mut request = match request {
            Ok(request) => request,
            Err(error) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                return self.commit(queue, tag, -request::errno_of(error));
            }
        };
        if reissued {
            counters.reissued.fetch_add(1, Ordering::Relaxed);
            request.reissued = true;
        }
        self.generation = self.generation.wrapping_add(1);
        let Some(pending) = self.pending.get_mut(usize::from(tag)) else { return };
        *pending = Some(Pending {
            generation: self.generation,
            operation: request.operation,
            length: request.length,
        });
        self.in_flight += 1;
        let name = u64::from(self.generation) << 32 | u64::from(tag);
        self.device.submit(request, Completion::new(Arc::clone(&self.sink), name));
    }

    /// Gives a request a buffer of its own, and a write its data.
    fn with_data(
        &mut self,
        queue: &UblkQueue<'_>,
        tag: u16,
        mut request: Request,
    ) -> Result<Request, BlockError> {
        if !request.operation.carries_data() {
            return Ok(request);
        }
        let length = usize::try_from(request.length).map_err(|_| BlockError::InvalidRequest)?;
        request.data = self.spare.pop().unwrap_or_default();
        request.data.resize(length, 0);
        if request.operation == Operation::Write {
            match &self.data {
                Data::Copied(file) => {
                    let at = UblkIOCtx::ublk_user_copy_pos(queue.get_qid(), tag, 0);
                    file.read_exact_at(&mut request.data, at).map_err(|error| {
                        tracing::error!(%error, tag, "the data of a ublk write cannot be read");
                        BlockError::Io
                    })?;
                }
                Data::Buffers(buffers) => {
                    let buffer =
                        buffers.get(usize::from(tag)).and_then(|all| all.as_slice().get(..length));
                    request.data.copy_from_slice(buffer.ok_or(BlockError::InvalidRequest)?);
                }
            }
        }
        Ok(request)
    }

    fn take_completions(&mut self, queue: &UblkQueue<'_>) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.inbox.take(&mut arrived);
        for (name, outcome) in arrived.drain(..) {
            self.end(queue, name, outcome);
        }
        self.arrived = arrived;
    }

    /// A request ended.
    fn end(&mut self, queue: &UblkQueue<'_>, name: u64, outcome: Outcome) {
        let tag = (name & u64::from(u16::MAX)) as u16;
        let slot = self.pending.get_mut(usize::from(tag));
        let known = slot.filter(|slot| {
            slot.is_some_and(|pending| u64::from(pending.generation) << 32 | u64::from(tag) == name)
        });
        let Some(pending) = known.and_then(Option::take) else {
            self.shared.counters.defects.fetch_add(1, Ordering::Relaxed);
            tracing::error!(name, "a completion of a device for no request");
            return;
        };
        self.in_flight -= 1;
        let mut result = request::result(pending.operation, pending.length, &outcome);
        if let (Ok(data), Operation::Read) = (&outcome, pending.operation)
            && result >= 0
            && let Err(error) = self.give(queue, tag, data)
        {
            tracing::error!(%error, tag, "the data of a ublk read cannot be given");
            result = -request::errno::EIO;
        }
        if result < 0 {
            self.shared.counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.commit(queue, tag, result);
        if let Ok(data) = outcome
            && data.capacity() > 0
            && self.spare.len() < SPARE_BUFFERS
        {
            self.spare.push(data);
        }
    }

    /// Gives the kernel what was read.
    fn give(&mut self, queue: &UblkQueue<'_>, tag: u16, data: &[u8]) -> std::io::Result<()> {
        match &mut self.data {
            Data::Copied(file) => {
                let at = UblkIOCtx::ublk_user_copy_pos(queue.get_qid(), tag, 0);
                file.write_all_at(data, at)
            }
            Data::Buffers(buffers) => {
                let buffer = buffers
                    .get_mut(usize::from(tag))
                    .and_then(|all| all.as_mut_slice().get_mut(..data.len()));
                let buffer = buffer.ok_or(std::io::ErrorKind::InvalidInput)?;
                buffer.copy_from_slice(data);
                Ok(())
            }
        }
    }

    /// Tells the kernel of a result, and asks for the tag's next request.
    fn commit(&self, queue: &UblkQueue<'_>, tag: u16, result: i32) {
        let data = match &self.data {
            Data::Copied(_) => &[],
            Data::Buffers(buffers) => {
                buffers.get(usize::from(tag)).map_or(&[][..], |buffer| buffer.as_slice())
            }
        };
        let committed =
            queue.complete_io_cmd_unified(tag, BufDesc::Slice(data), Ok(UblkIORes::Result(result)));
        if let Err(error) = committed {
            tracing::error!(%error, tag, "a ublk request cannot be ended");
        }
    }

    /// The kernel has taken the queue down: waits until the device has ended what it still has.
    fn wait_for_device(&mut self, queue: &UblkQueue<'_>) {
        loop {
            self.inbox.wakes();
            self.take_completions(queue);
            if self.in_flight == 0 {
                return;
            }
            if self.inbox.sleeps() {
                let mut watched = [PollFd::new(self.inbox.descriptor(), PollFlags::IN)];
                // Whatever it says, the inbox is looked at again.
                let _ = poll(&mut watched, None);
            }
        }
    }
}
