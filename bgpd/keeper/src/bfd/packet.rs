//! BFD control packets (RFC 5880 §4.1).

use super::{Diagnostic, State};
use std::num::NonZeroU32;
use std::time::Duration;

pub const LEN: usize = 24;

/// Without authentication and without echo, which are not done here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub diagnostic: Diagnostic,
    pub state: State,
    pub poll: bool,
    pub last: bool,
    /// The C bit.
    pub independent: bool,
    pub demand: bool,
    pub multiplier: u8,
    pub mine: NonZeroU32,
    /// Zero: not known yet.
    pub yours: u32,
    pub min_tx: Duration,
    pub min_rx: Duration,
}

/// Why a packet is discarded (RFC 5880 §6.8.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPacket {
    #[error("it is cut")]
    Short,
    #[error("version {0}")]
    Version(u8),
    #[error("its length field says {0}")]
    Length(u8),
    #[error("a multiplier of zero")]
    Multiplier,
    #[error("the multipoint bit")]
    Multipoint,
    #[error("authentication, where none is agreed")]
    Authenticated,
    #[error("no discriminator")]
    NoDiscriminator,
    #[error("up, and no discriminator of ours")]
    NotOurs,
}

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

impl Packet {
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let flag = |set, bit| if set { bit } else { 0 };
        let mut out = [0; LEN];
        out[0] = 1 << 5 | self.diagnostic.0 & 0x1f;
        out[1] = (self.state as u8) << 6
            | flag(self.poll, POLL)
            | flag(self.last, FINAL)
            | flag(self.independent, INDEPENDENT)
            | flag(self.demand, DEMAND);
        out[2] = self.multiplier;
        out[3] = LEN as u8;
        out[4..8].copy_from_slice(&self.mine.get().to_be_bytes());
        out[8..12].copy_from_slice(&self.yours.to_be_bytes());
        out[12..16].copy_from_slice(&micros(self.min_tx));
        out[16..20].copy_from_slice(&micros(self.min_rx));
        // Required Min Echo RX stays zero: no echo is wanted.
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadPacket> {
        let head: &[u8; LEN] = bytes.first_chunk().ok_or(BadPacket::Short)?;
        let word = |at: usize| head[at..].first_chunk().map_or(0, |b| u32::from_be_bytes(*b));
        let has = |bit| head[1] & bit != 0;
        let state = State::from_bits(head[1] >> 6);
        let yours = word(8);
        match () {
            () if head[0] >> 5 != 1 => return Err(BadPacket::Version(head[0] >> 5)),
            () if usize::from(head[3]) < LEN || usize::from(head[3]) > bytes.len() => {
                return Err(BadPacket::Length(head[3]));
            }
            () if head[2] == 0 => return Err(BadPacket::Multiplier),
            () if has(MULTIPOINT) => return Err(BadPacket::Multipoint),
            () if has(AUTHENTICATED) => return Err(BadPacket::Authenticated),
            () if yours == 0 && matches!(state, State::Init | State::Up) => {
                return Err(BadPacket::NotOurs);
            }
            () => {}
        }
        Ok(Self {
            diagnostic: Diagnostic(head[0] & 0x1f),
            state,
            poll: has(POLL),
            last: has(FINAL),
            independent: has(INDEPENDENT),
            demand: has(DEMAND),
            multiplier: head[2],
            mine: NonZeroU32::new(word(4)).ok_or(BadPacket::NoDiscriminator)?,
            yours,
            min_tx: Duration::from_micros(word(12).into()),
            min_rx: Duration::from_micros(word(16).into()),
        })
    }
}

fn micros(duration: Duration) -> [u8; 4] {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As FRR 10 sends it: Up, C bit, multiplier 3, 300 ms, echo offered.
    const FRR: [u8; LEN] = [
        0x20, 0xc8, 3, 24, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 7, 0, 4, 0x93, 0xe0, 0, 4, 0x93, 0xe0,
        0, 0, 0xc3, 0x50,
    ];

    #[test]
    fn a_packet_as_others_send_it_is_read() {
        let packet = Packet::decode(&FRR).unwrap();
        let interval = Duration::from_millis(300);
        assert_eq!(packet.state, State::Up);
        assert!(packet.independent && !packet.poll && !packet.last && !packet.demand);
        assert_eq!((packet.mine.get(), packet.yours), (0x1234_5678, 7));
        assert_eq!((packet.min_tx, packet.min_rx, packet.multiplier), (interval, interval, 3));
        assert_eq!(packet.encode()[..20], FRR[..20]);
    }

    #[test]
    fn every_fault_of_rfc_5880_section_6_8_6_is_found() {
        let with = |at: usize, value: u8| {
            let mut bytes = FRR;
            bytes[at] = value;
            Packet::decode(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 0x40), BadPacket::Version(2));
        assert_eq!(with(3, 23), BadPacket::Length(23));
        assert_eq!(with(3, 25), BadPacket::Length(25));
        assert_eq!(with(2, 0), BadPacket::Multiplier);
        assert_eq!(with(1, 0xc9), BadPacket::Multipoint);
        assert_eq!(with(1, 0xcc), BadPacket::Authenticated);
        assert_eq!(with(11, 0), BadPacket::NotOurs);
        let mut nobody = FRR;
        nobody[4..8].fill(0);
        assert_eq!(Packet::decode(&nobody), Err(BadPacket::NoDiscriminator));
        assert_eq!(Packet::decode(&FRR[..23]), Err(BadPacket::Short));
    }

    proptest! {
        #[test]
        fn strange_bytes_do_no_harm_and_what_is_read_is_written_again(
            mut bytes in prop::collection::vec(any::<u8>(), 0..60), sane: bool
        ) {
            if sane && bytes.len() >= LEN {
                bytes[0] = 0x20 | bytes[0] & 0x1f;
                bytes[1] &= !(MULTIPOINT | AUTHENTICATED);
                bytes[3] = LEN as u8;
            }
            if let Ok(packet) = Packet::decode(&bytes) {
                prop_assert_eq!(&packet.encode()[..3], &bytes[..3]);
                prop_assert_eq!(&packet.encode()[4..20], &bytes[4..20]);
                prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
            }
        }
    }
}
