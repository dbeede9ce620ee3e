//! BFD sessions as bytes: what the speaker asks for, what it is told, what the next keeper gets.
//!
//! A reader passes over bytes behind those it knows.

use super::session::{Remote, Saved};
use super::{Diagnostic, Hops, Key, MAX_SESSIONS, Report, Settings, Spec, State};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

/// Interface names are shorter (IFNAMSIZ).
const MAX_NAME: usize = 15;
const MAX_FAULT: usize = 120;
/// No list of specs is longer.
pub const MAX_LIST: usize = MAX_SESSIONS * 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("the list of bfd sessions is cut")]
    Cut,
    #[error("more than {MAX_SESSIONS} bfd sessions")]
    Many,
    #[error("a bfd session that cannot be read")]
    Record,
    #[error(transparent)]
    Spec(#[from] super::BadSpec),
}

/// (length u16, spec)*
#[must_use]
pub fn encode_list(specs: &[Spec]) -> Vec<u8> {
    let mut out = Vec::new();
    for spec in specs {
        let mut one = Vec::new();
        put_key(&spec.key, &mut one);
        put_settings(&spec.settings, &mut one);
        out.extend(u16::try_from(one.len()).unwrap_or(0).to_be_bytes());
        out.extend(one);
    }
    out
}

pub fn decode_list(mut bytes: &[u8]) -> Result<Vec<Spec>, ListError> {
    let mut specs = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk().ok_or(ListError::Cut)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (one, rest) = rest.split_at_checked(len).ok_or(ListError::Cut)?;
        bytes = rest;
        let mut from = Fields(one);
        let spec = from.key().zip(from.settings());
        let (key, settings) = spec.ok_or(ListError::Record)?;
        let spec = Spec { key, settings };
        spec.check()?;
        specs.push(spec);
        if specs.len() > MAX_SESSIONS {
            return Err(ListError::Many);
        }
    }
    Ok(specs)
}

#[must_use]
pub fn encode_saved(key: &Key, saved: &Saved) -> Vec<u8> {
    let mut out = Vec::new();
    let Remote { discriminator, min_tx, min_rx, multiplier, demand, independent, .. } =
        saved.remote;
    put_key(key, &mut out);
    put_settings(&saved.settings, &mut out);
    out.extend(saved.mine.get().to_be_bytes());
    out.extend([saved.state as u8, saved.diagnostic.0]);
    out.extend(discriminator.to_be_bytes());
    out.extend([saved.remote.state as u8, saved.remote.diagnostic.0, multiplier]);
    out.extend(micros(min_tx));
    out.extend(micros(min_rx));
    out.extend([u8::from(demand), u8::from(independent), u8::from(saved.failed)]);
    out.extend(saved.ups.to_be_bytes());
    out
}

#[must_use]
pub fn decode_saved(bytes: &[u8]) -> Option<(Key, Saved)> {
    let mut from = Fields(bytes);
    let (key, settings) = (from.key()?, from.settings()?);
    Spec { key: key.clone(), settings }.check().ok()?;
    let mine = NonZeroU32::new(from.u32()?)?;
    let (state, diagnostic) = (from.state()?, from.diagnostic()?);
    let remote = Remote {
        discriminator: from.u32()?,
        state: from.state()?,
        diagnostic: from.diagnostic()?,
        multiplier: from.u8()?,
        min_tx: from.micros()?,
        min_rx: from.micros()?,
        demand: from.flag()?,
        independent: from.flag()?,
    };
    let (failed, ups) = (from.flag()?, from.u32()?);
    Some((key, Saved { settings, mine, state, diagnostic, remote, failed, ups }))
}

pub(crate) fn encode_report(report: &Report) -> Vec<u8> {
    let mut out = Vec::new();
    put_key(&report.key, &mut out);
    out.extend([report.state as u8, report.diagnostic.0]);
    out.extend([report.remote_state as u8, report.remote_diagnostic.0]);
    out.extend([u8::from(report.remote_c_bit), u8::from(report.failed)]);
    out.extend(micros(report.detect));
    out.extend(micros(report.interval));
    out.extend(report.ups.to_be_bytes());
    put_text(&report.fault, MAX_FAULT, &mut out);
    out
}

pub(crate) fn decode_report(bytes: &[u8]) -> Option<Report> {
    let mut from = Fields(bytes);
    Some(Report {
        key: from.key()?,
        state: from.state()?,
        diagnostic: from.diagnostic()?,
        remote_state: from.state()?,
        remote_diagnostic: from.diagnostic()?,
        remote_c_bit: from.flag()?,
        failed: from.flag()?,
        detect: from.micros()?,
        interval: from.micros()?,
        ups: from.u32()?,
        fault: from.text()?,
    })
}

fn put_key(key: &Key, out: &mut Vec<u8>) {
    put_address(Some(key.peer), out);
    put_address(key.local, out);
    put_text(&key.interface, MAX_NAME, out);
    out.extend(match key.hops {
        Hops::Single => [0, 255],
        Hops::Multi { min_ttl } => [1, min_ttl],
    });
}

fn put_settings(settings: &Settings, out: &mut Vec<u8>) {
    out.extend(micros(settings.min_tx));
    out.extend(micros(settings.min_rx));
    out.extend([settings.multiplier, u8::from(settings.admin_down)]);
}

fn put_address(address: Option<IpAddr>, out: &mut Vec<u8>) {
    match address {
        None => out.push(0),
        Some(IpAddr::V4(a)) => {
            out.push(4);
            out.extend(a.octets());
        }
        Some(IpAddr::V6(a)) => {
            out.push(6);
            out.extend(a.octets());
        }
    }
}

fn put_text(text: &str, max: usize, out: &mut Vec<u8>) {
    let end = (0..=max.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    out.push(u8::try_from(end).unwrap_or(0));
    out.extend(text.as_bytes().iter().take(end));
}

fn micros(duration: Duration) -> [u8; 4] {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX).to_be_bytes()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        self.u8().map(|byte| byte != 0)
    }

    fn micros(&mut self) -> Option<Duration> {
        self.u32().map(|us| Duration::from_micros(us.into()))
    }

    fn state(&mut self) -> Option<State> {
        self.u8().map(State::from_bits)
    }

    fn diagnostic(&mut self) -> Option<Diagnostic> {
        self.u8().map(|code| Diagnostic(code & 0x1f))
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::from(self.u8()?);
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        String::from_utf8(head.to_vec()).ok()
    }

    fn address(&mut self) -> Option<Option<IpAddr>> {
        Some(match self.u8()? {
            0 => None,
            4 => Some(IpAddr::from(self.array::<4>()?)),
            6 => Some(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            _ => return None,
        })
    }

    fn key(&mut self) -> Option<Key> {
        let (peer, local, interface) = (self.address()??, self.address()?, self.text()?);
        if interface.len() > MAX_NAME {
            return None;
        }
        let hops = match self.array()? {
            [0, _] => Hops::Single,
            [1, min_ttl] => Hops::Multi { min_ttl },
            _ => return None,
        };
        Some(Key { peer, local, interface, hops })
    }

    fn settings(&mut self) -> Option<Settings> {
        let (min_tx, min_rx) = (self.micros()?, self.micros()?);
        let (multiplier, admin_down) = (self.u8()?, self.flag()?);
        Some(Settings { min_tx, min_rx, multiplier, admin_down })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Key> {
        let hops = prop_oneof![
            Just(Hops::Single),
            any::<u8>().prop_map(|min_ttl| Hops::Multi { min_ttl })
        ];
        let v4 = (any::<[u8; 4]>(), prop::option::of(any::<[u8; 4]>()))
            .prop_map(|(p, l)| (IpAddr::from(p), l.map(IpAddr::from)));
        let v6 = (any::<[u8; 16]>(), prop::option::of(any::<[u8; 16]>()))
            .prop_map(|(p, l)| (IpAddr::from(p), l.map(IpAddr::from)));
        (prop_oneof![v4, v6], "[a-z0-9]{1,15}", hops)
            .prop_map(|((peer, local), interface, hops)| Key { peer, local, interface, hops })
    }

    fn settings() -> impl Strategy<Value = Settings> {
        (50u64..60_000, 50u64..60_000, 1u8.., any::<bool>()).prop_map(
            |(tx, rx, multiplier, admin_down)| {
                let ms = Duration::from_millis;
                Settings { min_tx: ms(tx), min_rx: ms(rx), multiplier, admin_down }
            },
        )
    }

    fn spec() -> impl Strategy<Value = Spec> {
        (key(), settings()).prop_map(|(key, settings)| Spec { key, settings })
    }

    fn saved() -> impl Strategy<Value = Saved> {
        let bits = || (0u8..4).prop_map(State::from_bits);
        let code = || (0u8..32).prop_map(Diagnostic);
        let remote = (any::<u32>(), bits(), code(), any::<[u32; 2]>(), any::<(u8, bool, bool)>());
        let remote = remote.prop_map(
            |(discriminator, state, diagnostic, [tx, rx], (multiplier, demand, independent))| {
                let us = |n: u32| Duration::from_micros(n.into());
                let (min_tx, min_rx) = (us(tx), us(rx));
                Remote {
                    discriminator,
                    state,
                    diagnostic,
                    min_tx,
                    min_rx,
                    multiplier,
                    demand,
                    independent,
                }
            },
        );
        (settings(), 1u32.., bits(), code(), remote, any::<(bool, u32)>()).prop_map(
            |(settings, mine, state, diagnostic, remote, (failed, ups))| {
                let mine = NonZeroU32::new(mine).unwrap();
                Saved { settings, mine, state, diagnostic, remote, failed, ups }
            },
        )
    }

    pub(crate) fn report() -> impl Strategy<Value = Report> {
        (key(), saved(), ".{0,30}", any::<[u32; 2]>()).prop_map(
            |(key, s, fault, [detect, interval])| Report {
                key,
                state: s.state,
                diagnostic: s.diagnostic,
                remote_state: s.remote.state,
                remote_diagnostic: s.remote.diagnostic,
                remote_c_bit: s.remote.independent,
                failed: s.failed,
                detect: Duration::from_micros(detect.into()),
                interval: Duration::from_micros(interval.into()),
                ups: s.ups,
                fault,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(specs in prop::collection::vec(spec(), 0..5), key in key(), saved in saved(), report in report()) {
            prop_assert_eq!(decode_list(&encode_list(&specs)), Ok(specs));
            let mut bytes = encode_saved(&key, &saved);
            bytes.extend(b"of a later release");
            prop_assert_eq!(decode_saved(&bytes), Some((key, saved)));
            prop_assert_eq!(decode_report(&encode_report(&report)), Some(report));
        }

        #[test]
        fn strange_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decode_list(&bytes), decode_saved(&bytes), decode_report(&bytes));
        }

        #[test]
        fn what_is_cut_is_refused(spec in spec()) {
            let mut bytes = encode_list(&[spec]);
            while bytes.pop().is_some() && !bytes.is_empty() {
                prop_assert!(decode_list(&bytes).is_err());
            }
        }
    }

    #[test]
    fn what_cannot_be_kept_up_with_is_refused() {
        let key = Key {
            peer: "fe80::1".parse().unwrap(),
            local: None,
            interface: String::new(),
            hops: Hops::Single,
        };
        let told = |key: &Key, settings| {
            decode_list(&encode_list(&[Spec { key: key.clone(), settings }]))
                .unwrap_err()
                .to_string()
        };
        assert!(told(&key, Settings::default()).contains("needs its interface"));
        let key = Key { interface: "eth0".into(), ..key };
        let fast = Settings { min_tx: Duration::from_millis(49), ..Settings::default() };
        assert!(told(&key, fast).contains("49ms is not within"));
        assert!(
            told(&key, Settings { multiplier: 0, ..Settings::default() }).contains("multiplier")
        );
        let many = vec![Spec { key, settings: Settings::default() }; MAX_SESSIONS + 1];
        assert_eq!(decode_list(&encode_list(&many)), Err(ListError::Many));
    }
}
