//! What is wanted and what is so, group by group, in atomics: neither side ever waits for the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use avamgr_core::cluster::GroupId;
use avamgr_core::time::Instant;
use tokio::sync::{Notify, watch};

use super::Gate;
use crate::clock;

const GOES_ON: u8 = 0;
const ENDS: u8 = 1;
const ENDS_AND_REMOVES: u8 = 2;

/// What a group shall have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// How often it was opened; a new number is an order to open.
    pub(super) opening: u64,
    /// `None` = closed.
    pub(super) until: Option<Instant>,
}

/// What a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) gate: Gate,
    pub(super) until: Instant,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The table stays as it is.
    Leave,
    /// The table is deleted.
    Remove,
}

#[derive(Debug)]
pub(super) struct Mailbox {
    slots: BTreeMap<GroupId, Slot>,
    wake: Notify,
    end: AtomicU8,
    /// The error that stands; changes also when a gate does.
    changes: watch::Sender<Option<String>>,
    pub(super) bound: Arc<str>,
}

/// Written by the one who orders (`opening`, `until`) and by the thread (`served`, `gate`, `held`). Zero in `until` is
/// closed: no lease ends at boot.
#[derive(Debug, Default)]
struct Slot {
    opening: AtomicU64,
    until: AtomicU64,
    /// The opening that `gate` is about.
    served: AtomicU64,
    gate: AtomicU8,
    held: AtomicU64,
}

impl Slot {
    fn open(until: Instant) -> Self {
        Self {
            opening: AtomicU64::new(1),
            until: AtomicU64::new(until.as_nanos()),
            served: AtomicU64::new(1),
            gate: AtomicU8::new(Gate::Open as u8),
            held: AtomicU64::new(until.as_nanos()),
        }
    }
}

impl Mailbox {
    /// Those `held` are open already.
    pub(super) fn new(
        groups: impl Iterator<Item = GroupId>,
        held: &BTreeMap<GroupId, Instant>,
        bound: Arc<str>,
    ) -> Self {
        let slot = |group: GroupId| held.get(&group).map_or_else(Slot::default, |until| Slot::open(*until));
        let slots = groups.map(|group| (group, slot(group))).collect();
        let changes = watch::channel(None).0;
        Self { slots, wake: Notify::new(), end: AtomicU8::new(GOES_ON), changes, bound }
    }

    pub(super) fn open(&self, group: GroupId, until: Instant) {
        if let Some(slot) = self.slots.get(&group) {
            slot.until.store(until.as_nanos(), Ordering::Release);
            slot.opening.fetch_add(1, Ordering::Release);
            self.wake.notify_one();
        }
    }

    pub(super) fn hold(&self, group: GroupId, until: Instant) {
        if let Some(slot) = self.slots.get(&group)
            && slot.until.load(Ordering::Acquire) != 0
        {
            slot.until.store(until.as_nanos(), Ordering::Release);
            self.wake.notify_one();
        }
    }

    pub(super) fn close(&self, group: GroupId) {
        if let Some(slot) = self.slots.get(&group) {
            slot.until.store(0, Ordering::Release);
            self.wake.notify_one();
        }
    }

    pub(super) fn end(&self, remove: bool) {
        self.end.store(if remove { ENDS_AND_REMOVES } else { ENDS }, Ordering::Release);
        self.wake.notify_one();
    }

    /// `None` where the group has no VIPs.
    pub(super) fn told(&self, group: GroupId) -> Option<Told> {
        let slot = self.slots.get(&group)?;
        // In the reverse order of `tell`: what belongs to an opening is there before its number.
        let served = slot.served.load(Ordering::Acquire);
        let told = gate(slot.gate.load(Ordering::Acquire));
        let until = Instant::from_nanos(slot.held.load(Ordering::Acquire));
        let gate = if slot.until.load(Ordering::Acquire) == 0 {
            Gate::Closed
        } else if served != slot.opening.load(Ordering::Acquire) {
            Gate::Opening
        } else if told == Gate::Open && clock::now() >= until {
            // Nobody need have looked since.
            Gate::Lapsed
        } else {
            told
        };
        Some(Told { gate, until })
    }

    pub(super) fn changes(&self) -> watch::Receiver<Option<String>> {
        self.changes.subscribe()
    }

    pub(super) fn error(&self) -> Option<String> {
        self.changes.borrow().clone()
    }

    // The side of the thread.

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn ending(&self) -> Option<End> {
        match self.end.load(Ordering::Acquire) {
            GOES_ON => None,
            ENDS_AND_REMOVES => Some(End::Remove),
            _ => Some(End::Leave),
        }
    }

    pub(super) fn orders(&self) -> impl Iterator<Item = (GroupId, Order)> + '_ {
        self.slots.iter().map(|(group, slot)| {
            let opening = slot.opening.load(Ordering::Acquire);
            let until = Some(slot.until.load(Ordering::Acquire)).filter(|until| *until != 0);
            (*group, Order { opening, until: until.map(Instant::from_nanos) })
        })
    }

    /// Tells what came of an order.
    pub(super) fn tell(&self, group: GroupId, opening: u64, told: Told) {
        let Some(slot) = self.slots.get(&group) else { return };
        slot.held.store(told.until.as_nanos(), Ordering::Release);
        let new = told.gate as u8;
        let changed = slot.gate.swap(new, Ordering::AcqRel) != new;
        let changed = slot.served.swap(opening, Ordering::AcqRel) != opening || changed;
        if changed {
            self.changes.send_modify(|_error| {});
        }
    }

    /// Tells the error that stands from now on; `true` = it is another one than before.
    pub(super) fn tell_error(&self, error: Option<String>) -> bool {
        self.changes.send_if_modified(|standing| {
            let changed = *standing != error;
            *standing = error;
            changed
        })
    }
}

fn gate(number: u8) -> Gate {
    [Gate::Closed, Gate::Opening, Gate::Open, Gate::Lapsed]
        .into_iter()
        .find(|gate| *gate as u8 == number)
        .unwrap_or(Gate::Closed)
}
