//! What a session's options make of attributes, on the way in before the import policy is asked and
//! on the way out behind the export policy.

use super::Kind;
use crate::options::{DEFAULT_LOCAL_PREF, Options, RemovePrivate};
use crate::role;
use crate::types::Asn;
use crate::wire::{AsPath, Attributes};

/// RFC 4271 §9.1.2: whether a path has been here, more often than it may.
pub(crate) fn has_been_here(options: &Options, own: Asn, path: &AsPath) -> bool {
    let local = options.local_as.map(|l| l.asn).filter(|asn| *asn != own);
    let ours = path.asns().filter(|asn| *asn == own || Some(*asn) == local).count();
    ours > options.allow_as_in.into()
}

/// What the paths of a peer count as here; `None`: as they came.
pub(crate) fn inward(
    options: &Options,
    kind: Kind,
    peer: Asn,
    attrs: &Attributes,
) -> Option<Attributes> {
    let local = options.local_as.filter(|local| !local.no_prepend);
    let mark = options.role.filter(|_| kind == Kind::External);
    let mark = mark.and_then(|role| role::mark_in(role, peer, attrs));
    let prefer = options.default_local_pref != DEFAULT_LOCAL_PREF && attrs.local_pref.is_none();
    if local.is_none() && mark.is_none() && !prefer {
        return None;
    }
    let mut attrs = attrs.clone();
    if let Some(local) = local {
        // RFC 7705 §3.1: others still know us by this number.
        attrs.as_path.prepend(local.asn, 1);
    }
    attrs.only_to_customer = attrs.only_to_customer.or(mark);
    if prefer {
        attrs.local_pref = Some(options.default_local_pref);
    }
    Some(attrs)
}

/// RFC 9234 §5: whether a path of this peer is a leak.
pub(crate) fn is_leak(options: &Options, kind: Kind, peer: Asn, attrs: &Attributes) -> bool {
    let role = options.role.filter(|_| kind == Kind::External);
    role.is_some_and(|role| role::leaked(role, peer, attrs.only_to_customer))
}

/// The AS path on its way to an external peer (RFC 4271 §5.1.2 b).
pub(crate) fn outward(options: &Options, own: Asn, peer: Asn, path: &mut AsPath) {
    let shown = options.own_asn(own);
    match options.remove_private {
        Some(RemovePrivate::Alone) if !path.asns().all(is_private) => {}
        // The peer's own number stays, so that it knows what it has told itself.
        Some(RemovePrivate::Alone | RemovePrivate::All) => {
            path.retain(|asn| !is_private(asn) || asn == peer);
        }
        Some(RemovePrivate::Replace) => {
            path.replace(|asn| is_private(asn) && asn != peer, shown);
        }
        None => {}
    }
    if options.as_override {
        path.replace(|asn| asn == peer, shown);
    }
    // RFC 7705 §3.2, §3.3.
    if options.local_as.is_none_or(|local| !local.replace_as) {
        path.prepend(own, 1);
    }
    if let Some(local) = options.local_as {
        path.prepend(local.asn, 1);
    }
}

/// RFC 6996 §5.
fn is_private(asn: Asn) -> bool {
    matches!(asn.0, 64512..=65534 | 4_200_000_000..=4_294_967_294)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LocalAs;
    use crate::testing::attributes;
    use crate::types::Role;

    const OWN: Asn = Asn(64512);
    const PEER: Asn = Asn(65001);

    fn sent(options: &Options, path: &[u32]) -> String {
        let mut path = attributes(path).as_path;
        outward(options, OWN, PEER, &mut path);
        path.to_string()
    }

    #[test]
    fn private_numbers_go_alone_all_or_become_ours() {
        let with = |how| Options { remove_private: Some(how), ..Options::default() };
        let (mixed, private) = ([65010, 174, 65011, 4_200_000_000], [65010, 65001, 65534]);
        let (alone, all) = (with(RemovePrivate::Alone), with(RemovePrivate::All));
        assert_eq!(sent(&alone, &mixed), "64512 65010 174 65011 4200000000");
        assert_eq!(sent(&alone, &private), "64512 65001");
        assert_eq!(sent(&all, &mixed), "64512 174");
        assert_eq!(sent(&with(RemovePrivate::Replace), &mixed), "64512 64512 174 64512 64512");
        assert_eq!(sent(&all, &[65535, 64511]), "64512 65535 64511");
        assert_eq!(sent(&all, &[65010]), "64512");
    }

    #[test]
    fn the_peers_own_number_is_overridden_and_another_one_of_ours_shown() {
        let options = Options { as_override: true, ..Options::default() };
        assert_eq!(sent(&options, &[65002, 65001, 65001]), "64512 65002 64512 64512");
        let local = |no_prepend, replace_as| Options {
            as_override: true,
            local_as: Some(LocalAs { asn: Asn(65100), no_prepend, replace_as }),
            ..Options::default()
        };
        assert_eq!(sent(&local(false, false), &[65001]), "65100 64512 65100");
        assert_eq!(sent(&local(false, true), &[65001]), "65100 65100");
        let came = attributes(&[65001]);
        let taken = inward(&local(false, false), Kind::External, PEER, &came).unwrap();
        assert_eq!(taken.as_path.to_string(), "65100 65001");
        assert_eq!(inward(&local(true, false), Kind::External, PEER, &came), None);
    }

    #[test]
    fn our_number_may_stand_in_a_path_as_often_as_it_is_allowed_to() {
        let path = attributes(&[65001, 64512, 65100]).as_path;
        let local_as = Some(LocalAs { asn: Asn(65100), no_prepend: true, replace_as: true });
        for (allow_as_in, local_as, refused) in
            [(0, None, true), (1, None, false), (1, local_as, true), (2, local_as, false)]
        {
            let options = Options { allow_as_in, local_as, ..Options::default() };
            assert_eq!(has_been_here(&options, OWN, &path), refused, "{options:?}");
        }
    }

    #[test]
    fn what_comes_without_a_preference_gets_that_of_its_peer() {
        let options = Options { default_local_pref: 200, ..Options::default() };
        let came = attributes(&[65001]);
        let taken = |attrs: &Attributes| {
            inward(&options, Kind::External, PEER, attrs).map(|a| a.local_pref)
        };
        assert_eq!(taken(&came), Some(Some(200)));
        assert_eq!(taken(&Attributes { local_pref: Some(50), ..came }), None);
    }

    #[test]
    fn what_comes_from_above_is_marked_and_what_comes_from_below_with_a_mark_is_a_leak() {
        let with = |role| Options { role: Some(role), ..Options::default() };
        let came = attributes(&[65001]);
        let marked = inward(&with(Role::Customer), Kind::External, PEER, &came).unwrap();
        assert_eq!(marked.only_to_customer, Some(PEER));
        let inside = Kind::Internal { client: false };
        assert_eq!(inward(&with(Role::Customer), inside, PEER, &came), None);
        assert!(is_leak(&with(Role::Provider), Kind::External, PEER, &marked));
        assert!(!is_leak(&with(Role::Provider), inside, PEER, &marked));
    }
}
