//! The committed code is what the .proto files say. `UPDATE_GENERATED=1` writes it (`make proto`).

use std::path::Path;

const FILES: [&str; 5] = [
    "mainstay/bgp/v1/bgp.proto",
    "mainstay/collect/v1/collect.proto",
    "mainstay/ipam/v1/ipam.proto",
    "mainstay/netmon/v1/netmon.proto",
    "runtime/v1/cri.proto",
];

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gen");
    std::fs::create_dir_all(&made).unwrap();
    let descriptors = protox::compile(FILES.map(|f| root.join(f)), [root]).unwrap();
    tonic_prost_build::configure()
        .out_dir(&made)
        .message_attribute(".", "#[cfg_attr(feature = \"serde\", derive(serde::Serialize))]")
        .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .compile_fds(descriptors)
        .unwrap();

    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    let kept = root.join("src/gen");
    for entry in std::fs::read_dir(&made).unwrap() {
        let path = entry.unwrap().path();
        let fresh = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap();
        if update {
            std::fs::write(kept.join(name), &fresh).unwrap();
        }
        let committed = std::fs::read_to_string(kept.join(name)).unwrap_or_default();
        assert!(fresh == committed, "{name:?} differs from its .proto: run `make proto`");
    }
}
