//! The node's addresses, as ipamd tells them.

use super::SourceError;
use super::daemon::Daemon;
use crate::export::{Samples, metrics};
use mainstay_proto::ipam::v1 as pb;
use mainstay_proto::ipam::v1::ipam_client::IpamClient;

pub(crate) async fn read(ipamd: Daemon) -> Result<Samples, SourceError> {
    let call = async {
        let mut client = IpamClient::new(ipamd.channel());
        Ok(client.status(pb::StatusRequest {}).await?.into_inner())
    };
    Ok(samples(&ipamd.ask(call).await?))
}

fn samples(status: &pb::StatusReply) -> Samples {
    let mut samples = Samples::default();
    samples.add(&metrics::DAEMON_INFO, &["ipamd", &status.version], true);
    samples.add(&metrics::DAEMON_UPTIME, &["ipamd"], status.uptime_seconds);
    samples.add(&metrics::IPAM_ADDS, &[], status.adds);
    samples.add(&metrics::IPAM_DELS, &[], status.dels);
    samples.add(&metrics::IPAM_ADD_FAILURES, &[], status.add_failures);
    samples.add(&metrics::IPAM_STICKY_HITS, &[], status.sticky_hits);
    samples.add(&metrics::IPAM_GC_SCANS, &[], status.gc_scans);
    samples.add(&metrics::IPAM_GC_SUSPECTS, &[], status.gc_suspects);
    samples.add(&metrics::IPAM_GC_RELEASED, &[], status.gc_released);
    samples.add(&metrics::IPAM_GC_OUTLIVED, &[], status.gc_outlived);
    samples.add(&metrics::IPAM_SPOOLED_DELS, &[], status.spooled_dels);
    samples.add(&metrics::IPAM_HISTORY_LOST, &[], status.history_lost);
    samples.add(&metrics::IPAM_DISK_FULL, &[], status.disk_full);
    for pool in &status.pools {
        let name = pool.name.as_str();
        for (state, n) in by_state(pool) {
            samples.add(&metrics::IPAM_ADDRESSES, &[name, state], n);
        }
        samples.add(&metrics::IPAM_POOL_SIZE, &[name], pool.addresses);
        samples.add(&metrics::IPAM_QUARANTINED, &[name], pool.quarantined);
        samples.add(&metrics::IPAM_POOL_BLOCKS, &[name], u64::from(pool.blocks));
        if let Some(seconds) = pool.next_free_seconds {
            samples.add(&metrics::IPAM_NEXT_FREE_SECONDS, &[name], seconds);
        }
    }
    samples
}

/// ipamd counts a cooling address among the held, and a held one past its cooldown among the
/// free. Here each address is in one state, so that the states can be added up.
fn by_state(pool: &pb::PoolStatus) -> [(&'static str, u64); 6] {
    let held = pool.held.saturating_sub(pool.cooling).saturating_sub(pool.kept).min(pool.free);
    let told = pool.assigned + pool.cooling + pool.kept + pool.free;
    [
        ("assigned", pool.assigned),
        ("cooling", pool.cooling),
        ("held", held),
        ("kept", pool.kept),
        ("withheld", pool.addresses.saturating_sub(told)),
        ("free", pool.free - held),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_of_a_pool_add_up_to_its_size() {
        let pool = pb::PoolStatus {
            name: "default".into(),
            addresses: 62,
            assigned: 5,
            held: 7,
            cooling: 3,
            kept: 1,
            withheld: 2,
            quarantined: 1,
            free: 62 - 5 - 3 - 1 - 2,
            blocks: 1,
            next_free_seconds: Some(1.5),
            ..Default::default()
        };
        let states = by_state(&pool);
        let (given, rest) = states.split_at(2);
        assert_eq!(given, [("assigned", 5), ("cooling", 3)]);
        assert_eq!(rest, [("held", 3), ("kept", 1), ("withheld", 2), ("free", 48)]);
        assert_eq!(states.iter().map(|(_, n)| n).sum::<u64>(), pool.addresses);

        let status = pb::StatusReply { pools: vec![pool], sticky_hits: 9, ..Default::default() };
        let text = samples(&status).to_text();
        for line in [
            r#"mainstay_ipam_addresses{pool="default",state="held"} 3"#,
            r#"mainstay_ipam_quarantined{pool="default"} 1"#,
            r#"mainstay_ipam_pool_size{pool="default"} 62"#,
            r#"mainstay_ipam_next_free_seconds{pool="default"} 1.5"#,
            "mainstay_ipam_sticky_hits_total 9",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn while_an_address_is_free_no_wait_is_told() {
        let pools = vec![pb::PoolStatus { name: "p".into(), ..Default::default() }];
        let text = samples(&pb::StatusReply { pools, ..Default::default() }).to_text();
        assert!(!text.contains("next_free"), "{text}");
    }
}
