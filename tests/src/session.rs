//! The least of a BGP session: what a bench feeds speakers by.

use bgp_core::types::{Asn, Family, RouterId};
use bgp_core::wire::{Capability, Open, keepalive, open};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

const HOLD_TIME: Duration = Duration::from_secs(180);

/// Exchanges OPENs and KEEPALIVEs over a connection, IPv4 unicast alone, and keeps it alive from
/// then on for as long as it stands.
pub fn establish(mut stream: TcpStream, local: Ipv4Addr, asn: u32) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut bytes = Vec::new();
    let capabilities = vec![
        Capability::Multiprotocol(Family::Ipv4Unicast.into()),
        Capability::FourOctetAs(Asn(asn)),
    ];
    let hold_time = HOLD_TIME.as_secs() as u16;
    open(&Open { asn: Asn(asn), hold_time, router_id: RouterId(local), capabilities }, &mut bytes);
    stream.write_all(&bytes)?;
    if read(&stream)? != 1 {
        return Err(std::io::Error::other("no OPEN"));
    }
    bytes.clear();
    keepalive(&mut bytes);
    stream.write_all(&bytes)?;
    // Its KEEPALIVE says that the session is up on its side too.
    if read(&stream)? != 4 {
        return Err(std::io::Error::other("no KEEPALIVE"));
    }
    stream.set_read_timeout(None)?;
    let mut writer = stream.try_clone()?;
    std::thread::spawn(move || {
        while writer.write_all(&bytes).is_ok() {
            std::thread::sleep(HOLD_TIME / 9);
        }
    });
    Ok(stream)
}

/// One message; of which type it was (RFC 4271 §4.1).
fn read(mut stream: &TcpStream) -> std::io::Result<u8> {
    let mut header = [0; 19];
    stream.read_exact(&mut header)?;
    let rest = usize::from(u16::from_be_bytes([header[16], header[17]])).saturating_sub(19);
    std::io::copy(&mut stream.take(rest as u64), &mut std::io::sink())?;
    Ok(header[18])
}
