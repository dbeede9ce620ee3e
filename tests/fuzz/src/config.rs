//! An operator's file.

pub(crate) fn file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match mainstay_config::parse("mainstay.yaml", text) {
        Err(faults) => assert!(!faults.to_string().is_empty()),
        Ok(cluster) => {
            for name in cluster.node_names() {
                assert!(cluster.resolve(name).is_ok(), "{name} has passed the check");
            }
        }
    }
}
