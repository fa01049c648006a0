//! What a service manager hears of `alua up`, by the protocol of sd_notify(3).

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One that did not end by itself is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn heard(manager: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 1024];
    let length = manager.recv(&mut buffer).expect("it is told within the time limit");
    let text = std::str::from_utf8(&buffer[..length]).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_service_manager_hears_when_a_device_serves_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (notify, nbd) = (folder.path().join("notify"), folder.path().join("nbd"));
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_alua"))
        .args(["up", "data0", "--array", "demo", "--nbd"])
        .arg(format!("unix:{}", nbd.display()))
        .env("NOTIFY_SOCKET", &notify)
        .env("XDG_RUNTIME_DIR", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut up = Ended(child);
    let ready = heard(&manager);
    assert_eq!(ready[0], "READY=1");
    let place = format!("{}", nbd.display());
    assert!(ready[1].starts_with("STATUS=serving naa.") && ready[1].contains(&place), "{ready:?}");
    // It is ready indeed: a client finds it.
    std::os::unix::net::UnixStream::connect(&nbd).unwrap();
    assert!(up.0.try_wait().unwrap().is_none(), "it runs until it is told to stop");
    let id = up.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(heard(&manager), ["STOPPING=1"]);
    assert!(up.0.wait().unwrap().success());
    assert!(!nbd.exists(), "its socket is gone");
}
