//! The end of a connection whose other side takes nothing.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_user_timeout;

/// Once nothing of what is to be sent was taken for so long, writing fails. Otherwise a peer that is there and does not read
/// would be waited for without end (tcp(7), `TCP_USER_TIMEOUT`).
///
/// # Errors
/// It is not a TCP socket.
pub fn end_when_unread(socket: impl AsFd, after: Duration) -> io::Result<()> {
    // 0 would be as long as the system likes.
    let milliseconds = u32::try_from(after.as_millis()).unwrap_or(u32::MAX).max(1);
    Ok(set_tcp_user_timeout(socket, milliseconds)?)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_peer_that_reads_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        end_when_unread(&socket, Duration::from_millis(300)).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let failed = loop {
            if let Err(error) = socket.write_all(&[0; 1 << 16]) {
                break error;
            }
        };
        // The write timeout would be `WouldBlock`.
        assert_eq!(failed.kind(), ErrorKind::TimedOut, "{failed}");
    }
}
