//! Nets of one AS: everybody with everybody, and reflectors in two levels.

use crate::{LinkId, Net, NodeId, Side};
use bgp_core::config::SessionConfig;

/// What all of these have: nodes that may own prefixes, all nodes, all links.
pub struct Inside {
    pub nodes: Vec<NodeId>,
    pub owners: Vec<NodeId>,
    pub links: Vec<LinkId>,
}

const ASN: u32 = 64512;

impl Net {
    /// Every node has a session with every other one, and a prefix.
    pub fn mesh(&mut self, size: usize, edit: impl Fn(usize, &mut SessionConfig)) -> Inside {
        let nodes: Vec<NodeId> = (0..size).map(|n| self.node(&format!("n{n}"), ASN)).collect();
        let mut links = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            self.own(*node, &format!("10.{}.{}.0/24", n / 256, n % 256));
            for other in &nodes[..n] {
                let number = links.len();
                links.push(self.link_with(*other, *node, |_, session| edit(number, session)));
            }
        }
        Inside { owners: nodes.clone(), nodes, links }
    }

    /// Two reflectors on top, each cluster's two reflectors their clients, and `clients` in each
    /// cluster, with a prefix each (RFC 4456).
    pub fn clusters(
        &mut self,
        clusters: usize,
        clients: usize,
        edit: impl Fn(usize, &mut SessionConfig),
    ) -> Inside {
        let tops = [self.node("top0", ASN), self.node("top1", ASN)];
        let mut inside = Inside {
            nodes: tops.to_vec(),
            owners: Vec::new(),
            links: vec![self.link(tops[0], tops[1])],
        };
        for c in 0..clusters {
            let reflectors = [0, 1].map(|r| self.node(&format!("rr{c}-{r}"), ASN));
            inside.nodes.extend(reflectors);
            for (top, rr) in tops.iter().flat_map(|t| reflectors.map(|rr| (*t, rr))) {
                self.serve(top, rr, &mut inside.links, &edit);
            }
            for n in 0..clients {
                let client = self.node(&format!("c{c}-{n}"), ASN);
                self.own(client, &format!("10.{c}.{n}.0/24"));
                inside.nodes.push(client);
                inside.owners.push(client);
                for rr in reflectors {
                    self.serve(rr, client, &mut inside.links, &edit);
                }
            }
        }
        inside
    }

    fn serve(
        &mut self,
        reflector: NodeId,
        client: NodeId,
        links: &mut Vec<LinkId>,
        edit: &impl Fn(usize, &mut SessionConfig),
    ) {
        let number = links.len();
        links.push(self.link_with(reflector, client, |side, session| {
            session.route_reflector_client = side == Side::A;
            edit(number, session);
        }));
    }
}
