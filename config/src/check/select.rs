//! Which nodes have which peers, found by label and not by looking at every node each time.

use crate::file::Node;
use crate::read::{At, Labels};
use crate::resolve::{labels, selects};
use std::collections::HashMap;

pub(super) struct Selector<'f> {
    nodes: &'f [At<Node>],
    by_label: HashMap<(&'f str, &'f str), Vec<usize>>,
    all: Vec<usize>,
}

impl<'f> Selector<'f> {
    pub(super) fn new(nodes: &'f [At<Node>]) -> Self {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for (i, node) in nodes.iter().enumerate() {
            for (key, value) in labels(node) {
                by_label.entry((key.as_str(), value.as_str())).or_default().push(i);
            }
        }
        Self { nodes, by_label, all: (0..nodes.len()).collect() }
    }

    /// The places in `nodes` of those that `select` selects.
    pub(super) fn nodes(&self, select: Option<&'f At<Labels>>) -> impl Iterator<Item = usize> {
        let asked = select.iter().flat_map(|select| select.value.iter());
        let having = asked.map(|(key, value)| {
            self.by_label.get(&(key.as_str(), value.as_str())).map_or(&[][..], Vec::as_slice)
        });
        let fewest = having.min_by_key(|nodes| nodes.len()).unwrap_or(&self.all);
        fewest.iter().copied().filter(move |i| selects(select, labels(&self.nodes[*i])))
    }
}
