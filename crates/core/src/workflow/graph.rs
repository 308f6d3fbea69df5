//! Graphs of things that need others, by index: cycles, order, what is before what.
//!
//! Nothing here recurses, so a chain may be as long as the limits allow.

/// Who needs whom.
pub(super) struct Graph {
    needs: Vec<Vec<usize>>,
}

impl Graph {
    /// `needs[n]` are the indices that `n` needs. Indices out of range are ignored.
    pub fn new(needs: Vec<Vec<usize>>) -> Self {
        let size = needs.len();
        Self { needs: needs.into_iter().map(|all| all.into_iter().filter(|n| *n < size).collect()).collect() }
    }

    /// An order in which everything comes after what it needs, by level and then by index; without what is in a
    /// cycle or behind one.
    pub fn levels(&self) -> Vec<Vec<usize>> {
        let mut waiting: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut needed_by = vec![Vec::new(); self.needs.len()];
        for (n, needs) in self.needs.iter().enumerate() {
            for need in needs {
                if let Some(list) = needed_by.get_mut(*need) {
                    list.push(n);
                }
            }
        }
        let mut levels = Vec::new();
        let mut level: Vec<usize> = self.indices().filter(|n| waiting.get(*n) == Some(&0)).collect();
        while !level.is_empty() {
            let mut next = Vec::new();
            for n in level.iter().filter_map(|n| needed_by.get(*n)).flatten() {
                if let Some(count) = waiting.get_mut(*n) {
                    *count -= 1;
                    if *count == 0 {
                        next.push(*n);
                    }
                }
            }
            next.sort_unstable();
            levels.push(std::mem::replace(&mut level, next));
        }
        levels
    }

    /// For each index, whether it has a place in the order.
    pub fn ordered(&self) -> Vec<bool> {
        let mut ordered = vec![false; self.needs.len()];
        for n in self.levels().into_iter().flatten() {
            if let Some(flag) = ordered.get_mut(n) {
                *flag = true;
            }
        }
        ordered
    }

    /// The cycles, each once and from its first member; cycles that share a member count as one.
    pub fn cycles(&self) -> Vec<Vec<usize>> {
        let mut left: Vec<bool> = self.ordered().into_iter().map(|ordered| !ordered).collect();
        let mut cycles = Vec::new();
        while let Some(start) = left.iter().position(|left| *left) {
            let mut walk = vec![start];
            while let Some(last) = walk.last() {
                let next = self.needs.get(*last).into_iter().flatten().find(|n| left.get(**n) == Some(&true));
                let Some(next) = next.copied() else {
                    // It only needs what has been reported.
                    clear(&mut left, *last);
                    break;
                };
                if let Some(begin) = walk.iter().position(|n| *n == next) {
                    let mut cycle = walk.split_off(begin);
                    let first = cycle.iter().enumerate().min_by_key(|(_, n)| **n).map_or(0, |(at, _)| at);
                    cycle.rotate_left(first);
                    cycle.iter().for_each(|n| clear(&mut left, *n));
                    cycles.push(cycle);
                    break;
                }
                walk.push(next);
            }
        }
        cycles
    }

    /// For each index, everything that is before it, directly or not. What is in a cycle has nothing before it.
    pub fn before(&self) -> Vec<Set> {
        let mut before = vec![Set::new(self.needs.len()); self.needs.len()];
        for n in self.levels().into_iter().flatten() {
            let mut all = Set::new(self.needs.len());
            for need in self.needs.get(n).into_iter().flatten() {
                all.insert(*need);
                if let Some(indirect) = before.get(*need) {
                    all.unite(indirect);
                }
            }
            if let Some(slot) = before.get_mut(n) {
                *slot = all;
            }
        }
        before
    }

    fn indices(&self) -> std::ops::Range<usize> {
        0..self.needs.len()
    }
}

fn clear(flags: &mut [bool], n: usize) {
    if let Some(flag) = flags.get_mut(n) {
        *flag = false;
    }
}

/// A set of indices.
#[derive(Clone, Debug)]
pub(super) struct Set(Vec<u64>);

impl Set {
    fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    fn insert(&mut self, n: usize) {
        if let Some(word) = self.0.get_mut(n / 64) {
            *word |= 1 << (n % 64);
        }
    }

    fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Whether an index is in it.
    pub fn contains(&self, n: usize) -> bool {
        self.0.get(n / 64).is_some_and(|word| word & (1 << (n % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_and_what_is_before() {
        let graph = Graph::new(vec![vec![], vec![0], vec![0], vec![1, 2], vec![]]);
        assert_eq!(graph.levels(), [vec![0, 4], vec![1, 2], vec![3]]);
        let before = graph.before();
        assert!(
            [0, 1, 2].iter().all(|n| before[3].contains(*n))
                && !before[3].contains(4)
                && !before[1].contains(2)
        );
        assert!(graph.cycles().is_empty());
    }

    #[test]
    fn every_cycle_is_named_once() {
        let graph = Graph::new(vec![vec![2], vec![0], vec![1], vec![2], vec![4], vec![], vec![7], vec![6]]);
        assert_eq!(graph.cycles(), [vec![0, 2, 1], vec![4], vec![6, 7]]);
        assert_eq!(graph.levels(), [[5]]);
    }

    #[test]
    fn a_long_chain_is_no_problem() {
        let graph =
            Graph::new((0..2_000_usize).map(|n| if n == 0 { vec![1_999] } else { vec![n - 1] }).collect());
        assert_eq!(graph.cycles().len(), 1);
    }

    proptest! {
        #[test]
        fn either_there_is_an_order_or_a_cycle(needs in prop::collection::vec(prop::collection::vec(0..12_usize, 0..3), 1..12)) {
            let graph = Graph::new(needs);
            let ordered: usize = graph.levels().iter().map(Vec::len).sum();
            prop_assert_eq!(ordered == graph.needs.len(), graph.cycles().is_empty());
            for cycle in graph.cycles() {
                for (n, member) in cycle.iter().enumerate() {
                    prop_assert!(graph.needs[*member].contains(&cycle[(n + 1) % cycle.len()]));
                }
            }
        }
    }
}
