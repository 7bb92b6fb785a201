//! Groups findings by reaper: each group is one line of the first page and of the page of reapers.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use supervisor_model::diagnosis::Prognosis;

use super::item::{Age, Item, Sort};

/// All findings of one reaper.
#[derive(Debug)]
pub(super) struct Group {
    /// The reaper, as its findings name it.
    pub(super) label: String,
    /// Its host pid.
    pub(super) pid: Option<u32>,
    /// The indices of its findings, in their order.
    pub(super) members: Vec<usize>,
    /// Whether one of them blocks a PID namespace.
    pub(super) blocks: bool,
    /// The age of the oldest.
    pub(super) oldest: Age,
    /// The prognosis that all of them have.
    pub(super) prognosis: Option<Prognosis>,
    /// Their cause, or how many causes there are.
    pub(super) cause: String,
    /// Their container, or how many containers there are.
    pub(super) container: String,
}

/// The order of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
}

impl Order {
    /// Sorts findings by this order.
    pub(super) fn sort(self, items: &mut [Item]) {
        if self.is_reversed {
            items.sort_unstable_by(|one, other| self.sort.compare(other, one));
        } else {
            items.sort_unstable_by(|one, other| self.sort.compare(one, other));
        }
    }
}

/// Groups findings that are already in this order. Reapers whose zombies block a PID namespace come first, then those
/// with leaked zombies. Within these classes the order decides.
pub(super) fn group(items: &[Item], order: Order) -> Vec<Group> {
    let mut indices: HashMap<&str, usize> = HashMap::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let group = *indices.entry(&item.reaper).or_insert_with(|| {
            members.push(Vec::new());
            members.len() - 1
        });
        members[group].push(index);
    }
    let mut groups: Vec<Group> = members.into_iter().map(|members| of(items, members)).collect();
    groups.sort_by_cached_key(|group| {
        let has_leaked = group.members.iter().any(|&index| items[index].prognosis == Prognosis::Leaked);
        let count = group.members.len() as i64;
        let place = match (order.sort, order.is_reversed) {
            (Sort::Holds, false) => -count,
            (Sort::Holds, true) => count,
            _ => 0,
        };
        (Reverse(group.blocks), Reverse(has_leaked), place)
    });
    groups
}

fn of(items: &[Item], members: Vec<usize>) -> Group {
    let each = || members.iter().map(|&index| &items[index]);
    let first = &items[members[0]];
    Group {
        label: first.reaper.to_string(),
        pid: first.reaper_pid,
        blocks: each().any(|item| item.blocks),
        oldest: each().map(|item| item.age).min_by(|one, other| one.compare(*other)).unwrap_or_default(),
        prognosis: Some(first.prognosis).filter(|it| each().all(|item| item.prognosis == *it)),
        cause: one_or_count(each().map(|item| &*item.cause), "causes"),
        container: one_or_count(each().map(|item| &*item.container), "containers"),
        members,
    }
}

/// The text that all of them have in common, or how many different texts there are.
fn one_or_count<'a>(mut texts: impl Iterator<Item = &'a str>, what: &str) -> String {
    let Some(first) = texts.next() else { return String::new() };
    match texts.find(|text| *text != first) {
        None => first.to_owned(),
        Some(other) => {
            let different: HashSet<&str> = texts.chain([first, other]).collect();
            format!("{} {what}", different.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(pid: u32, reaper: &str, age: u64, prognosis: Prognosis, blocks: bool) -> Item {
        Item {
            id: pid.to_string(),
            change: None,
            pid,
            process: format!("crun[{pid}]"),
            reaper: reaper.into(),
            reaper_pid: Some(1),
            prognosis,
            cause: if pid.is_multiple_of(2) { "busy".into() } else { "reading".into() },
            family: "F1".into(),
            age: Age::seen(age),
            container: "web".into(),
            exit: "exit 1".into(),
            pid_ns: "1".into(),
            blocks,
        }
    }

    fn labels(groups: &[Group]) -> Vec<&str> {
        groups.iter().map(|group| &*group.label).collect()
    }

    #[test]
    fn blocking_reapers_come_first_then_leaking_ones() {
        use Prognosis::{Late, Leaked};
        let mut items = vec![
            item(1, "late", 9, Late, false),
            item(2, "late", 8, Late, false),
            item(3, "few", 7, Leaked, false),
            item(4, "blocks", 1, Late, true),
            item(5, "many", 2, Leaked, false),
            item(6, "many", 3, Leaked, false),
        ];
        let order = Order::default();
        order.sort(&mut items);
        let groups = group(&items, order);
        assert_eq!(labels(&groups), ["blocks", "many", "few", "late"]);
        assert_eq!(groups[1].members.iter().map(|&it| items[it].pid).collect::<Vec<_>>(), [6, 5]);
        assert_eq!((groups[1].oldest, groups[1].prognosis), (Age::seen(3), Some(Leaked)));
        assert_eq!((&*groups[1].cause, &*groups[1].container), ("2 causes", "web"));

        let order = Order { sort: Sort::Age, is_reversed: false };
        order.sort(&mut items);
        assert_eq!(labels(&group(&items, order)), ["blocks", "few", "many", "late"]);
        let order = Order { sort: Sort::Age, is_reversed: true };
        order.sort(&mut items);
        assert_eq!(labels(&group(&items, order)), ["blocks", "many", "few", "late"]);
    }
}
