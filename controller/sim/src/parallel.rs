//! Many worlds at once, each on a thread of its own; what came of them is told in order, as if they had been one after the other.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// So many outcomes may wait to be taken.
const WAITING: usize = 16;

/// Does `work` for 0, 1 .. `number - 1` on all cores, and gives each outcome to `take`, in order, until that says no.
pub fn in_order<T: Send>(number: usize, work: impl Fn(usize) -> T + Sync, mut take: impl FnMut(usize, T) -> bool) {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    let worker = |sender: mpsc::SyncSender<(usize, T)>| {
        while !stop.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= number || sender.send((place, work(place))).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            let sender = sender.clone();
            scope.spawn(|| worker(sender));
        }
        drop(sender);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (place, outcome) in receiver {
            early.insert(place, outcome);
            while let Some(outcome) = early.remove(&due) {
                if !take(due, outcome) {
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
                due += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_in_order_and_no_more_once_one_was_enough() {
        let mut taken = Vec::new();
        in_order(
            100,
            |place| place * 2,
            |place, outcome| {
                taken.push((place, outcome));
                place < 9
            },
        );
        assert_eq!(taken, (0..10).map(|place| (place, place * 2)).collect::<Vec<_>>());
    }
}
