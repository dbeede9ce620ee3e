//! Small clients and servers that run inside a host.

use crate::netns::Netns;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The body of `GET http://<address><path>`.
pub fn http_get(host: &Netns, address: &str, path: &str) -> Result<String, String> {
    let to: SocketAddr = address.parse().map_err(|e| format!("{address}: {e}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    host.run(move || exchange(to, request.as_bytes())).and_then(|answer| {
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no header")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head.to_owned());
        }
        Ok(if head.to_lowercase().contains("chunked") { unchunk(body) } else { body.to_owned() })
    })
}

fn exchange(to: SocketAddr, request: &[u8]) -> Result<String, String> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&to, limit).map_err(|e| format!("{to}: {e}"))?;
    stream.set_read_timeout(Some(limit)).map_err(|e| e.to_string())?;
    stream.write_all(request).map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| format!("{to}: {e}"))?;
    Ok(answer)
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { break };
        whole.push_str(rest.get(..size).unwrap_or(rest));
        body = rest.get(size + 2..).unwrap_or("");
    }
    whole
}

/// Whether a TCP connection from one host to an echo server in another carries bytes both ways.
pub fn tcp_echo(from: &Netns, to: &Netns, address: SocketAddr) -> Result<(), String> {
    let listener = to.run(move || listen(address)).map_err(|e| e.to_string())?;
    let at = listener.local_addr().map_err(|e| e.to_string())?;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = [0; 1024];
        let n = stream.read(&mut bytes)?;
        stream.write_all(&bytes[..n])
    });
    let answer = from.run(move || -> Result<Vec<u8>, String> {
        let limit = Duration::from_secs(3);
        let mut stream =
            TcpStream::connect_timeout(&at, limit).map_err(|e| format!("{at}: {e}"))?;
        stream.set_read_timeout(Some(limit)).map_err(|e| e.to_string())?;
        stream.write_all(b"hello from the other side").map_err(|e| e.to_string())?;
        let mut bytes = vec![0; 25];
        stream.read_exact(&mut bytes).map_err(|e| format!("{at}: {e}"))?;
        Ok(bytes)
    });
    if answer.is_err() {
        // The server still waits: a connection of its own host lets it go.
        let _ = to.run(move || TcpStream::connect_timeout(&at, Duration::from_secs(1)));
    }
    let answer = answer?;
    server.join().map_err(|_| "the server panicked")?.map_err(|e| e.to_string())?;
    if answer == b"hello from the other side" { Ok(()) } else { Err("other bytes".into()) }
}

/// A process that another test is just starting has a copy of the last listener until its exec.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let limit = Instant::now() + Duration::from_secs(5);
    loop {
        match TcpListener::bind(address) {
            Err(e) if e.kind() == ErrorKind::AddrInUse && Instant::now() < limit => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}
