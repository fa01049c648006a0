//! A block device that is offered to others, whatever by.

use std::time::Duration;

use crate::nbd;

/// A block device that is being offered: what a program needs to know that serves one.
pub trait Exported: Send {
    /// Where others find it: an NBD URI, or the path of a block device.
    fn place(&self) -> String;

    /// What it has done so far.
    fn totals(&self) -> Totals;

    /// What it cannot do here that it could elsewhere, in words, if there is anything.
    fn lacks(&self) -> Option<&'static str> {
        None
    }

    /// Offers it no more: takes no new requests, lets what is in flight end, for `limit` at most,
    /// and removes what was made for it (a socket's file, a block device).
    ///
    /// # Errors
    ///
    /// [`EndError`]: something was still in flight, or could not be removed.
    fn shut_down(self: Box<Self>, limit: Duration) -> Result<Totals, EndError>;
}

/// What was done for all clients together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were submitted to the device.
    pub requests: u64,
    /// Of these, how many failed.
    pub failed: u64,
    /// Of these, how many an earlier server may have had.
    pub reissued: u64,
    /// Completions that no request had: a defect of the device. It stays 0.
    pub defects: u64,
}

/// An export did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// Of the NBD server.
    #[error("the NBD server went down with requests in flight")]
    Nbd(#[from] nbd::server::Unfinished),
    /// Of the ublk device.
    #[cfg(feature = "ublk")]
    #[error("the ublk device cannot be removed")]
    Ublk(#[from] crate::ublk::UblkError),
}

impl From<nbd::server::Statistics> for Totals {
    fn from(of: nbd::server::Statistics) -> Self {
        let nbd::server::Statistics { requests, failed, defects, .. } = of;
        Self { requests, failed, reissued: 0, defects }
    }
}

impl Exported for nbd::server::Server {
    fn place(&self) -> String {
        self.address().to_string()
    }

    fn totals(&self) -> Totals {
        self.statistics().into()
    }

    fn shut_down(self: Box<Self>, limit: Duration) -> Result<Totals, EndError> {
        Ok((*self).shut_down(limit)?.into())
    }
}

#[cfg(feature = "ublk")]
impl Exported for crate::ublk::Device {
    fn place(&self) -> String {
        self.path().display().to_string()
    }

    fn totals(&self) -> Totals {
        self.statistics()
    }

    fn lacks(&self) -> Option<&'static str> {
        Self::lacks(self)
    }

    fn shut_down(self: Box<Self>, limit: Duration) -> Result<Totals, EndError> {
        Ok((*self).shut_down(limit)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::MemoryDevice;
    use crate::nbd::server::{Address, Config, Export, Server};

    #[test]
    fn a_server_is_exported_until_it_is_shut_down() {
        let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
        let export = Export {
            name: String::new(),
            description: String::new(),
            device: Arc::new(MemoryDevice::new(4096, 512)),
        };
        let server = Server::start(&address, vec![export], Config::default()).unwrap();
        let exported: Box<dyn Exported> = Box::new(server);
        assert!(exported.place().starts_with("nbd://127.0.0.1:"), "{}", exported.place());
        assert_eq!(exported.totals(), Totals::default());
        assert_eq!(exported.shut_down(Duration::from_secs(10)).unwrap(), Totals::default());
    }
}
