//! SONiC: FRR in the container `bgp`, or CONFIG_DB where the management framework writes FRR's
//! configuration.

use super::side::Side;
use super::{frr, write::Writer};

pub(crate) fn render(side: &Side) -> String {
    let mut w = Writer::new("!");
    w.head(side, "SONiC (FRR in the container bgp)");
    w.say(
        0,
        "With docker_routing_config_mode separated or split: docker exec -it bgp vtysh, then these \
         lines, then write. SONiC's own templates set the restarting role only for the type \
         ToRRouter; the helper's role is FRR's default.",
    );
    if let (Some(time), Some(stale)) = (side.restart_time(), side.stale_time()) {
        w.say(
            0,
            "With the management framework (docker_routing_config_mode unified) CONFIG_DB has the \
             timers, and writes over what vtysh was told: config load of this, then the rest as \
             BGP_NEIGHBOR and BGP_PEER_GROUP of your image.",
        );
        let stale = stale.min(3600);
        for line in [
            r#"{"BGP_GLOBALS": {"default": {"#.to_owned(),
            r#"  "graceful_restart_enable": "true","#.to_owned(),
            format!(r#"  "gr_restart_time": "{}","#, time.min(3600)),
            format!(r#"  "gr_stale_routes_time": "{stale}""#),
            "}}}".to_owned(),
        ] {
            w.line(format!("!   {line}"));
        }
    }
    if side.session.bfd.is_some() {
        w.say(0, "BFD needs bfdd running in the container: verify on your image.");
    }
    frr::body(side, &mut w);
    w.end()
}
