//! One connection: bytes between its socket and the target.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Control;
use crate::event::ConnectionId;

/// Pieces of output that one write takes.
const SLICES: usize = 64;
/// Reads that a connection may have in a row before the others have their turn.
const TURN: u32 = 32;

/// Ends a connection so that its peer sees a reset, not an end of file.
#[expect(deprecated, reason = "a linger of zero does not block")]
pub(super) fn reset(stream: &TcpStream) {
    // A socket that cannot do it is closed in the ordinary way.
    let _ = stream.set_linger(Some(Duration::ZERO));
}

/// Serves a connection until its end.
pub(super) async fn run(control: Control, id: ConnectionId, stream: TcpStream, waker: Rc<Notify>) {
    let _ = stream.set_nodelay(true);
    let end = serve(&control, id, &stream, &waker).await;
    control.inner.wakers.borrow_mut().remove(&id);
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

async fn serve(control: &Control, id: ConnectionId, stream: &TcpStream, waker: &Notify) -> End {
    let mut reads = 0;
    loop {
        // Output first: what waits there may be what keeps input from being wanted.
        let blocked = match write(control, id, stream) {
            Ok(Written::Everything) => false,
            Ok(Written::Blocked) => true,
            Ok(Written::Over { in_order }) => return End::ByTarget { in_order },
            Err(error) => return End::ByPeer(format!("cannot write: {error}")),
        };
        let wanted = control.inner.target.borrow().wants_input(id);
        if wanted {
            match read(control, id, stream) {
                Ok(Some(0)) => return End::ByPeer("the initiator closed it".to_owned()),
                Ok(Some(_)) => {
                    reads += 1;
                    if reads < TURN {
                        continue;
                    }
                    reads = 0;
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => return End::ByPeer(format!("cannot read: {error}")),
            }
        }
        reads = 0;
        tokio::select! {
            ready = stream.readable(), if wanted => {
                if let Err(error) = ready { return End::ByPeer(error.to_string()); }
            }
            ready = stream.writable(), if blocked => {
                if let Err(error) = ready { return End::ByPeer(error.to_string()); }
            }
            () = waker.notified() => {}
        }
    }
}

enum Written {
    Everything,
    Blocked,
    Over { in_order: bool },
}

fn write(control: &Control, id: ConnectionId, stream: &TcpStream) -> io::Result<Written> {
    loop {
        let mut target = control.inner.target.borrow_mut();
        let Some(output) = target.output(id) else { return Ok(Written::Over { in_order: false }) };
        if output.waiting() == 0 {
            return Ok(Written::Everything);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = output.slices(&mut slices);
        match stream.try_write_vectored(slices.get(..count).unwrap_or(&slices)) {
            Ok(sent) => {
                target.sent(id, sent);
                if target.is_over(id) {
                    return Ok(Written::Over { in_order: true });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Blocked),
            Err(error) => return Err(error),
        }
    }
}

/// Reads what is there. `None`: nothing.
fn read(control: &Control, id: ConnectionId, stream: &TcpStream) -> io::Result<Option<usize>> {
    let now = control.now();
    {
        let mut target = control.inner.target.borrow_mut();
        let Some(space) = target.space(id) else { return Ok(None) };
        let count = match stream.try_read(space) {
            Ok(0) => return Ok(Some(0)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        target.filled(id, count, now);
        drop(target);
        control.settle(Some(id));
        Ok(Some(count))
    }
}
