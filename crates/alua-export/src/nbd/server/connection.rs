//! One connection: its thread, from the greeting to the last completion.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags};

use super::super::negotiate::{End, Negotiation, Refusal};
use super::super::session::{Closing, Session};
use super::Shared;
use crate::block::{BlockDevice, Completion, Outcome, Sink};
use crate::inbox::Inbox;

/// Pieces that are sent with one call.
const PIECES: usize = 64;
/// Bytes of requests that are submitted before it is looked whether something can be sent: what a
/// device completes at once is then still in the processor's cache.
const BATCH: usize = 256 << 10;
/// Bytes of the handshake that are read at once.
const HANDSHAKE_BYTES: usize = 4096;

/// Why a connection is cut off.
#[derive(Debug, thiserror::Error)]
pub(super) enum CutOff {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the client did not choose an export in time")]
    Handshake,
    #[error("the client stopped in the middle of a request or a reply")]
    Stalled,
    #[error("a request did not begin with its magic number")]
    BadMagic,
    #[error("the socket failed: {0}")]
    Socket(#[from] Errno),
}

/// Serves a client until it is gone and nothing of it is in flight.
pub(super) fn serve(shared: &Shared, socket: &OwnedFd, number: u64) -> Result<(), CutOff> {
    let Some((index, early)) = handshake(shared, socket)? else { return Ok(()) };
    let Some(export) = shared.exports.get(index) else { return Ok(()) };
    tracing::info!(connection = number, export = export.name, "NBD client");
    let inbox = Arc::new(Inbox::new()?);
    let mut session = Session::new(export.device.geometry(), shared.config.limits);
    if !early.is_empty() {
        // At most HANDSHAKE_BYTES, for which an empty session has room.
        session.space()[..early.len()].copy_from_slice(&early);
        session.filled(early.len());
    }
    let mut connection = Connection {
        shared,
        socket,
        device: &*export.device,
        sink: Arc::clone(&inbox) as Arc<dyn Sink>,
        inbox,
        session,
        arrived: Vec::new(),
        progress: Instant::now(),
        may_have_more: false,
        hung_up: false,
    };
    let ended = connection.run();
    connection.wait_for_device();
    ended
}

/// Lets the client choose; gives the export's index and what it has sent already of its first
/// requests, or None when it went away.
fn handshake(shared: &Shared, socket: &OwnedFd) -> Result<Option<(usize, Vec<u8>)>, CutOff> {
    let deadline = Instant::now() + shared.config.handshake;
    let mut negotiation = Negotiation::new(Arc::clone(&shared.offers));
    let mut input = [0; HANDSHAKE_BYTES];
    let (mut from, mut to) = (0, 0);
    loop {
        if shared.going_down() {
            negotiation.shut_down();
        }
        from += negotiation.receive(input.get(from..to).unwrap_or_default());
        while !negotiation.output().is_empty() {
            wait(socket, PollFlags::OUT, deadline)?;
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match net::send(socket, negotiation.output(), flags) {
                Ok(count) => negotiation.sent(count),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // A client that needed no more than the list closes without a word.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        match negotiation.end() {
            Some(End::Begin(index)) => {
                let early = input.get(from..to).unwrap_or_default().to_vec();
                return Ok(Some((index, early)));
            }
            Some(End::Aborted) => return Ok(None),
            Some(End::Refused(refusal)) => return Err(refusal.into()),
            None => {}
        }
        if from < to {
            continue;
        }
        wait(socket, PollFlags::IN, deadline)?;
        match net::recv(socket, &mut input, RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(None),
            Ok((count, _)) => (from, to) = (0, count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until the socket is ready or the deadline is over.
fn wait(socket: &OwnedFd, flags: PollFlags, deadline: Instant) -> Result<(), CutOff> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(CutOff::Handshake);
    }
    match poll(&mut [PollFd::new(socket, flags)], Some(&timespec(left))) {
        Ok(0) => Err(CutOff::Handshake),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn timespec(time: Duration) -> Timespec {
    // A duration that no integer holds is as good as for ever.
    Timespec::try_from(time).unwrap_or(Timespec { tv_sec: i64::from(u32::MAX), tv_nsec: 0 })
}

/// A client in the transmission phase.
struct Connection<'a> {
    shared: &'a Shared,
    socket: &'a OwnedFd,
    device: &'a dyn BlockDevice,
    inbox: Arc<Inbox>,
    /// The inbox, as devices know it.
    sink: Arc<dyn Sink>,
    session: Session,
    /// Completions that are being looked at.
    arrived: Vec<(u64, Outcome)>,
    /// When the client last took or gave something.
    progress: Instant,
    /// There is, or may be, something to be read.
    may_have_more: bool,
    /// The client has closed its end.
    hung_up: bool,
}

impl Connection<'_> {
    /// Until the session is over, or the client is.
    fn run(&mut self) -> Result<(), CutOff> {
        loop {
            if self.shared.going_down() {
                self.session.shut_down();
            }
            let more = self.submit();
            self.take_completions();
            let sent = self.send()?;
            if self.session.closing() == Some(Closing::BadMagic) {
                return Err(CutOff::BadMagic);
            }
            if self.session.is_done() {
                return Ok(());
            }
            if more || sent {
                // What was sent has made room for requests that are here already.
                continue;
            }
            let idle = self.session.in_flight() == 0;
            let ready = self.may_have_more || self.hung_up;
            if self.session.wants_input() && (idle || ready) {
                // With nothing in flight only the client, or the server's end, has something to
                // say: this waits for either.
                self.receive(idle)?;
            } else {
                self.sleep()?;
            }
        }
    }

    /// Gives the device requests with data of [`BATCH`] bytes; whether there are more.
    fn submit(&mut self) -> bool {
        let (mut count, mut bytes) = (0, 0);
        while bytes < BATCH
            && let Some((tag, request)) = self.session.poll_request()
        {
            count += 1;
            bytes += request.data.len();
            self.device.submit(request, Completion::new(Arc::clone(&self.sink), tag));
        }
        if count > 0 {
            self.shared.counters.requests.fetch_add(count, Ordering::Relaxed);
        }
        bytes >= BATCH
    }

    fn take_completions(&mut self) {
        let counters = &self.shared.counters;
        let had_output = self.has_output();
        self.inbox.take(&mut self.arrived);
        for (tag, outcome) in self.arrived.drain(..) {
            if outcome.is_err() {
                counters.failed.fetch_add(1, Ordering::Relaxed);
            }
            if let Err(error) = self.session.complete(tag, outcome) {
                counters.defects.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "a defect of the device");
            }
        }
        if !had_output && self.has_output() {
            // Until now the client waited for the device: its time to take replies begins.
            self.progress = Instant::now();
        }
    }

    fn has_output(&self) -> bool {
        self.session.chunks().next().is_some()
    }

    /// Sends what the client takes now; whether it took something.
    fn send(&mut self) -> Result<bool, CutOff> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut sent = false;
        loop {
            let pieces: Vec<IoSlice<'_>> =
                self.session.chunks().take(PIECES).map(IoSlice::new).collect();
            if pieces.is_empty() {
                return Ok(sent);
            }
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            match net::sendmsg(self.socket, &pieces, &mut SendAncillaryBuffer::default(), flags) {
                Ok(count) => {
                    self.session.sent(count);
                    self.progress = Instant::now();
                    sent = true;
                    if count < length {
                        return Ok(sent);
                    }
                }
                Err(Errno::AGAIN) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    self.session.client_is_gone();
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what is there; waits for it when `wait`.
    fn receive(&mut self, wait: bool) -> Result<(), CutOff> {
        let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        let space = self.session.space();
        let room = space.len();
        match net::recv(self.socket, space, flags) {
            Ok((count, _)) => {
                self.session.filled(count);
                self.progress = Instant::now();
                self.may_have_more = count == room;
            }
            Err(Errno::AGAIN) => self.may_have_more = false,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET | Errno::PIPE | Errno::TIMEDOUT) => {
                self.session.client_is_gone();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Waits until the client or the device has something to say.
    fn sleep(&mut self) -> Result<(), CutOff> {
        if !self.inbox.sleeps() {
            return Ok(());
        }
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.session.wants_input());
        flags.set(PollFlags::OUT, self.has_output());
        let half_done = self.has_output() || self.session.is_mid_request();
        let left =
            half_done.then(|| self.shared.config.stalled.saturating_sub(self.progress.elapsed()));
        let mut watched =
            [PollFd::new(self.inbox.descriptor(), PollFlags::IN), PollFd::new(self.socket, flags)];
        // The socket of a client that hung up would be ready for ever.
        let count = if self.hung_up { 1 } else { 2 };
        let ready = poll(&mut watched[..count], left.map(timespec).as_ref());
        let said = watched[1].revents();
        self.inbox.wakes();
        match ready {
            Ok(0) => return Err(CutOff::Stalled),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.may_have_more |= said.contains(PollFlags::IN);
        self.hung_up |= said.intersects(PollFlags::HUP | PollFlags::ERR);
        Ok(())
    }

    /// Waits until nothing of this client is in flight.
    fn wait_for_device(&mut self) {
        self.session.client_is_gone();
        if self.session.in_flight() > 0 {
            // The client need not wait for the device. It may be gone already.
            let _ = net::shutdown(self.socket, net::Shutdown::Both);
        }
        loop {
            while self.submit() {}
            self.take_completions();
            if self.session.in_flight() == 0 {
                return;
            }
            if self.inbox.sleeps() {
                let mut watched = [PollFd::new(self.inbox.descriptor(), PollFlags::IN)];
                // Whatever it says, the inbox is looked at again.
                let _ = poll(&mut watched, None);
                self.inbox.wakes();
            }
        }
    }
}
