//! One connection: bytes between its socket and the target.
//!
//! A connection is one task, which is polled when its socket has something or the target has
//! something for it. A poll does all that can be done now: a command that comes alone costs one wait,
//! one read and one write. Readiness is kept by tokio: a read that does not fill the buffer has
//! emptied the socket, and no other one is tried to find that out.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::Control;
use crate::event::ConnectionId;

/// Pieces of output that one write takes.
const SLICES: usize = 64;
/// Reads that a connection may have in a row before the others have their turn.
const TURN: u32 = 32;

/// Wakes the task of a connection.
#[derive(Default)]
pub(super) struct Alarm(Cell<Option<Waker>>);

impl Alarm {
    /// Has the task polled again; does nothing before its first poll, which comes by itself.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake_by_ref();
            self.0.set(Some(waker));
        }
    }

    fn set(&self, waker: &Waker) {
        let old = self.0.take().filter(|old| old.will_wake(waker));
        self.0.set(Some(old.unwrap_or_else(|| waker.clone())));
    }
}

/// Ends a connection so that its peer sees a reset, not an end of file.
#[expect(deprecated, reason = "a linger of zero does not block")]
pub(super) fn reset(stream: &TcpStream) {
    // A socket that cannot do it is closed in the ordinary way.
    let _ = stream.set_linger(Some(Duration::ZERO));
}

/// Serves a connection until its end.
pub(super) async fn run(
    control: Control,
    id: ConnectionId,
    mut stream: TcpStream,
    alarm: Rc<Alarm>,
) {
    let _ = stream.set_nodelay(true);
    let end = std::future::poll_fn(|cx| {
        alarm.set(cx.waker());
        serve(&control, id, &mut stream, cx)
    });
    let end = end.await;
    control.inner.alarms.borrow_mut().remove(&id);
    match end {
        End::ByTarget { in_order: false } => reset(&stream),
        End::ByTarget { in_order: true } => {}
        End::ByPeer(reason) => {
            let now = control.now();
            control.inner.target.borrow_mut().lost(id, now, &reason);
            control.settle(None);
        }
    }
}

enum End {
    /// The target has ended it; in order: everything was sent.
    ByTarget {
        in_order: bool,
    },
    ByPeer(String),
}

/// Does what can be done now.
fn serve(
    control: &Control,
    id: ConnectionId,
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
) -> Poll<End> {
    for _ in 0..TURN {
        // Output first: what waits there may be what keeps input from being wanted.
        match write(control, id, stream, cx) {
            Ok(Written::AsMuchAsGoes) => {}
            Ok(Written::Over { in_order }) => return Poll::Ready(End::ByTarget { in_order }),
            Err(error) => return Poll::Ready(End::ByPeer(format!("cannot write: {error}"))),
        }
        if !control.inner.target.borrow().wants_input(id) {
            return Poll::Pending;
        }
        match read(control, id, stream, cx) {
            Poll::Ready(Ok(0)) => {
                return Poll::Ready(End::ByPeer("the initiator closed it".to_owned()));
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => {
                return Poll::Ready(End::ByPeer(format!("cannot read: {error}")));
            }
            Poll::Pending => return Poll::Pending,
        }
    }
    // There may be more.
    cx.waker().wake_by_ref();
    Poll::Pending
}

enum Written {
    /// All, or as much as the peer takes.
    AsMuchAsGoes,
    Over {
        in_order: bool,
    },
}

fn write(
    control: &Control,
    id: ConnectionId,
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
) -> io::Result<Written> {
    loop {
        let mut target = control.inner.target.borrow_mut();
        let Some(output) = target.output(id) else { return Ok(Written::Over { in_order: false }) };
        if output.waiting() == 0 {
            return Ok(Written::AsMuchAsGoes);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = output.slices(&mut slices);
        let slices = slices.get(..count).unwrap_or(&slices);
        match Pin::new(&mut *stream).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(sent)) => {
                target.sent(id, sent);
                if target.is_over(id) {
                    return Ok(Written::Over { in_order: true });
                }
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(Written::AsMuchAsGoes),
        }
    }
}

/// Reads what is there, once.
fn read(
    control: &Control,
    id: ConnectionId,
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut target = control.inner.target.borrow_mut();
    // A connection that is over has its turn in `write`.
    let Some(space) = target.space(id) else { return Poll::Pending };
    let mut buffer = ReadBuf::new(space);
    std::task::ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    let count = buffer.filled().len();
    if count > 0 {
        target.filled(id, count, control.now());
        drop(target);
        control.settle(Some(id));
    }
    Poll::Ready(Ok(count))
}
