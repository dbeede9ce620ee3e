//! The cells of docs/interop.md, a test a speaker.

use mainstay_tests::interop::{self, Outcome, Speaker};

fn all_of(speaker: Speaker) {
    for feature in interop::ALL {
        if let Outcome::Broken(why) = interop::cell(feature, speaker) {
            panic!("{}: {why}", feature.name);
        }
    }
}

#[test]
fn every_feature_works_with_bird() {
    all_of(Speaker::Bird);
}

#[test]
fn every_feature_works_with_frr() {
    all_of(Speaker::Frr);
}

#[test]
fn every_feature_works_with_gobgp() {
    all_of(Speaker::GoBgp);
}

#[test]
fn every_feature_works_with_openbgpd() {
    all_of(Speaker::OpenBgpd);
}

#[test]
fn every_feature_works_with_exabgp() {
    all_of(Speaker::ExaBgp);
}
