//! A host's own `/dev/log`: what its programs tell syslog ends up in a file of the host.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use crate::files::Files;
use crate::worker::{Bell, Worker};

/// Longer messages are cut: the lab keeps logs for people.
const LONGEST_MESSAGE: usize = 8192;

/// Starts the sink of a host that has just booted.
pub(crate) fn start(files: &Files) -> io::Result<Worker> {
    let path = files.dir.join("dev/log");
    if fs::exists(&path)? {
        fs::remove_file(&path)?;
    }
    let socket = UnixDatagram::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    socket.set_nonblocking(true)?;
    let file = OpenOptions::new().create(true).append(true).open(files.dir.join("log/syslog"))?;
    Worker::start("lab-syslog", move |bell| run(&socket, file, bell))
}

fn run(socket: &UnixDatagram, mut file: fs::File, bell: &Bell) {
    let mut message = [0u8; LONGEST_MESSAGE];
    while !bell.wait(&[socket.as_fd()], None).unwrap_or(true) {
        while let Ok(length) = socket.recv(&mut message) {
            let text = message[..length].trim_ascii_end();
            // A log that cannot be written is seen to be short by whoever reads it.
            let _ = file.write_all(&[text, b"\n"].concat());
        }
    }
}
