//! The network of a pod, entered by threads of this test: what they open is the pod's to all others.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::crash::process_of;

/// What a policy forbids is refused at once, and so is what nothing listens for; this is for a machine under heavy load.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct Network {
    namespace: File,
    address: IpAddr,
}

impl Network {
    /// Of a pod in which `program` runs.
    pub(crate) fn of(pod: &Value, program: &str) -> Network {
        let pid = process_of(pod, program).unwrap_or_else(|| panic!("no {program} runs: {pod:#}"));
        Network::at(&format!("/proc/{pid}/ns/net"), pod["status"]["podIP"].as_str().unwrap())
    }

    pub(crate) fn at(namespace: &str, address: &str) -> Network {
        Network { namespace: File::open(namespace).unwrap(), address: address.parse().unwrap() }
    }

    pub(crate) fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Until the result is dropped; the kernel takes some hundred connections by itself.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        self.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
    }

    /// A refusal is the only no: a listener that takes no more connections, say, says nothing of policies.
    pub(crate) fn reaches(&self, to: SocketAddr) -> bool {
        self.inside(|| match TcpStream::connect_timeout(&to, LIMIT) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
            Err(error) => panic!("{to} is open, or not there: {error}"),
        })
    }

    /// Whether a name server answers by UDP.
    pub(crate) fn resolves(&self, server: SocketAddr) -> bool {
        self.inside(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            socket.connect(server).unwrap();
            let mut answer = [0; 512];
            let is_answered = socket.send(&question()).and_then(|_| socket.recv(&mut answer)).is_ok();
            // No error, and at least one address.
            is_answered && answer[3] & 0x0f == 0 && answer[7] > 0
        })
    }

    /// On a thread of its own, which goes with its namespace.
    fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.namespace.as_fd(), kind).unwrap();
                run()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// For the address of a Service that every cluster has, as RFC 1035 writes it.
fn question() -> Vec<u8> {
    // A number of its own, recursion desired, one question.
    let mut bytes = b"\x07\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in ["kubernetes", "default", "svc", "cluster", "local", ""] {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.extend(b"\x00\x01\x00\x01");
    bytes
}
