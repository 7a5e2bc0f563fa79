//! Pure: parts of a view's update in the wire's form. A part that many sessions need is made once.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use swarmnet_model::view::BackendState;
use swarmnet_model::{Item, ItemKey, NodeView, TaskId};
use swarmnet_proto::document;

/// Parts kept for the next session of a pass: most nodes have one of few sets of networks.
const PARTS_KEPT: usize = 16;

/// Items to put and keys to remove, each as the elements of a JSON array.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    put: Vec<u8>,
    removed: Vec<u8>,
    /// Backends it speaks of, and whether they take new flows.
    pub backends: Vec<(TaskId, bool)>,
}

impl Part {
    /// The whole of a view.
    pub fn whole(view: &NodeView) -> Self {
        let mut part = Self::default();
        view.iter().for_each(|(key, item)| part.put(key, item));
        part
    }

    /// What turns `old` into `new`, without the changes that `skip` finds to say nothing.
    pub fn difference(old: &NodeView, new: &NodeView, skip: impl Fn(&Item, &Item) -> bool) -> Self {
        let mut part = Self::default();
        for difference in old.diff(new) {
            match difference {
                DiffItem::Update { old: (_, old), new: (_, new) } if skip(old, new) => {}
                DiffItem::Add(key, item) | DiffItem::Update { new: (key, item), .. } => {
                    part.put(key, item);
                }
                DiffItem::Remove(key, _) => part.remove(key),
            }
        }
        part
    }

    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty()
    }

    fn put(&mut self, key: &ItemKey, item: &Item) {
        append(&mut self.put, &document::encode(&(key, item)));
        if let (ItemKey::Backend(task), Item::Backend(backend)) = (key, item) {
            self.backends.push((task.clone(), backend.state == BackendState::Active));
        }
    }

    fn remove(&mut self, key: &ItemKey) {
        append(&mut self.removed, &document::encode(key));
        if let ItemKey::Backend(task) = key {
            self.backends.push((task.clone(), false));
        }
    }
}

fn append(list: &mut Vec<u8>, element: &[u8]) {
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(element);
}

/// Returns the document of a `ViewUpdate` made of these parts.
pub(super) fn update(generation: u64, full: bool, parts: &[&Part]) -> Vec<u8> {
    let bytes: usize = parts.iter().map(|part| part.put.len() + part.removed.len() + 2).sum();
    let mut text = Vec::with_capacity(bytes + 64);
    text.extend(format!("{{\"generation\":{generation},\"full\":{full},\"put\":[").bytes());
    join(&mut text, parts.iter().map(|part| part.put.as_slice()));
    text.extend_from_slice(b"],\"removed\":[");
    join(&mut text, parts.iter().map(|part| part.removed.as_slice()));
    text.extend_from_slice(b"]}");
    text
}

fn join<'a>(text: &mut Vec<u8>, lists: impl Iterator<Item = &'a [u8]>) {
    for (at, list) in lists.filter(|list| !list.is_empty()).enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(list);
    }
}

/// The differences of one pass between views that sessions share.
#[derive(Debug, Default)]
pub struct Shared {
    /// From a view (`None`: from nothing) to a view.
    parts: Vec<(Option<NodeView>, NodeView, Arc<Part>)>,
}

impl Shared {
    /// Returns what turns `old` into `new`, or all of `new`.
    pub fn part(&mut self, old: Option<&NodeView>, new: &NodeView) -> Arc<Part> {
        let same = |known: &Option<NodeView>| match (known, old) {
            (Some(known), Some(old)) => known.ptr_eq(old),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let known = self.parts.iter().find(|(from, to, _)| to.ptr_eq(new) && same(from));
        if let Some((.., part)) = known {
            return Arc::clone(part);
        }
        let part = Arc::new(match old {
            Some(old) => Part::difference(old, new, |_, _| false),
            None => Part::whole(new),
        });
        if self.parts.len() == PARTS_KEPT {
            self.parts.remove(0);
        }
        self.parts.push((old.cloned(), new.clone(), Arc::clone(&part)));
        part
    }
}

#[cfg(test)]
mod tests {
    use swarmnet_model::view::{Peer, ViewUpdate};
    use swarmnet_model::{NodeId, view};

    use super::*;

    fn peers(names: &[(&str, &str)]) -> NodeView {
        let peer = |(id, hostname): &(&str, &str)| {
            let node_id = NodeId::from_text(*id);
            let hostname = (*hostname).to_owned();
            let item = Peer { node_id: node_id.clone(), hostname, addr: [10, 0, 0, 1].into() };
            (ItemKey::Peer(node_id), Item::Peer(item))
        };
        names.iter().map(peer).collect()
    }

    #[test]
    fn parts_make_the_document_of_the_whole_update() {
        let (old, new) = (peers(&[("a", "1"), ("b", "2")]), peers(&[("b", "3\"\\"), ("c", "4")]));
        let other = peers(&[("z", "9")]);
        let mut expected = view::difference(&old, &new, 7).unwrap();
        let part = Shared::default().part(Some(&old), &new);
        let only = update(7, false, &[&part, &Part::default()]);
        assert_eq!(only, document::encode(&expected));
        expected.put.extend(other.iter().map(|(key, item)| (key.clone(), item.clone())));
        let both = update(7, false, &[&part, &Part::whole(&other)]);
        assert_eq!(document::decode::<ViewUpdate>("update", &both).unwrap(), expected);
    }

    #[test]
    fn nothing_is_a_whole_view_as_well() {
        let empty = ViewUpdate { generation: 1, full: true, put: Vec::new(), removed: Vec::new() };
        assert_eq!(update(1, true, &[&Part::default()]), document::encode(&empty));
    }

    #[test]
    fn what_is_kept_belongs_to_the_very_same_views() {
        let mut shared = Shared::default();
        let (old, new) = (peers(&[("a", "1"), ("b", "1")]), peers(&[("a", "2"), ("b", "1")]));
        let difference = shared.part(Some(&old), &new);
        assert!(Arc::ptr_eq(&difference, &shared.part(Some(&old), &new)));
        assert_ne!(shared.part(Some(&new), &old), difference);
        assert!(shared.part(Some(&new), &new).is_empty());
        assert_ne!(shared.part(None, &new), difference);
        for at in 0..2 * PARTS_KEPT {
            shared.part(None, &peers(&[("n", &at.to_string())]));
        }
        assert_eq!(shared.parts.len(), PARTS_KEPT);
        assert_eq!(shared.part(Some(&old), &new), difference);
    }
}
