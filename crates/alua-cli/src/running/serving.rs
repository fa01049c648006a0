//! Running devices beside a command that sends its own: which units they serve, and which paths they
//! hold as failed, so that these are not waited for.

use alua_host::hctl::Hctl;

use super::client;
use super::status::{DeviceStatus, PathStatus};
use crate::session::Session;
use crate::target::World;
use crate::view::ServerView;

/// The devices that ran at one moment and could be asked, of one source.
pub(crate) struct Serving(Vec<DeviceStatus>);

impl Serving {
    /// Asks them. That one cannot be asked is no reason for anything.
    pub(crate) fn ask(source: &str) -> Self {
        let mut all = client::answering();
        all.retain(|status| status.source == source);
        Self(all)
    }

    /// The running device with this path, if there is one, and of `unit`, where that is known.
    pub(crate) fn of_path(
        &self,
        unit: Option<&str>,
        device: &str,
    ) -> Option<(&DeviceStatus, &PathStatus)> {
        let fits = |status: &&DeviceStatus| unit.is_none_or(|unit| status.unit == unit);
        self.0.iter().filter(fits).find_map(|status| Some((status, status.path(device)?)))
    }

    /// The devices behind the paths that are held as failed.
    pub(crate) fn failed(&self, world: &World) -> Vec<Hctl> {
        // On a model nothing takes any time, and the name of a device may be one of another array.
        if world.is_model() {
            return Vec::new();
        }
        let failed = self.0.iter().flat_map(DeviceStatus::failed);
        failed.filter_map(|path| world.resolve(&path.device).ok()).flatten().collect()
    }

    /// Notes in each unit who serves it.
    pub(crate) fn mark(&self, sessions: &mut [Session]) {
        for session in sessions {
            let title = session.title();
            let mut devices = session.device_names();
            let served = devices.find_map(|device| self.of_path(Some(&title), &device));
            let server = served.map(|(status, _)| status.server());
            drop(devices);
            session.served_by = server;
        }
    }
}

impl DeviceStatus {
    /// The paths that are held as failed.
    pub(crate) fn failed(&self) -> impl Iterator<Item = &PathStatus> {
        self.paths.iter().filter(|path| path.failed)
    }

    /// Who serves the unit.
    pub(crate) fn server(&self) -> ServerView {
        ServerView { places: self.places.clone(), pid: self.pid }
    }
}
