//! A world under watch: every rule after every event, and a log of it all.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use avamgr_core::sim::{Detail, Log, Plan, World};

use crate::invariants::Invariants;
use crate::liveness::role_change;
use crate::strangers::Strangers;

/// A world with its watch.
pub(crate) struct Checked {
    world: World,
    pub(crate) invariants: Invariants,
    pub(crate) log: Option<Log>,
    strangers: Option<Strangers>,
    role_changes: Vec<String>,
}

impl Checked {
    /// A world with every machine off. `detail`: what is written down.
    pub(crate) fn new(plan: Plan, detail: Option<Detail>) -> Self {
        let world = World::new(plan);
        let log = detail.map(|detail| Log::new(world.config(), detail));
        Self { world, invariants: Invariants::default(), log, strangers: None, role_changes: Vec::new() }
    }

    /// Goes on from somewhere in the middle.
    pub(crate) fn resume(world: World, invariants: Invariants) -> Self {
        Self { world, invariants, log: None, strangers: None, role_changes: Vec::new() }
    }

    /// What it is made of.
    pub(crate) fn into_parts(self) -> (World, Invariants) {
        (self.world, self.invariants)
    }

    /// Plays frames of strangers to copies of the nodes from now on.
    pub(crate) fn watch_strangers(&mut self, seed: u64) {
        self.strangers = Some(Strangers::new(seed));
    }

    /// Lets time pass. The first broken rule is returned; what happens after it is not checked.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let Self { world, invariants, log, strangers, role_changes } = self;
        let mut result = Ok(());
        world.run_watched(time, &mut |world, notes| {
            for note in notes {
                if let Some(log) = log {
                    log.add(note);
                }
                role_changes.extend(role_change(&note.what));
            }
            if result.is_ok() {
                let strangers = strangers.as_mut();
                result = invariants
                    .check(world, notes)
                    .and_then(|()| strangers.map_or(Ok(()), |it| it.frames_of_strangers_change_nothing(world, notes)))
                    .map_err(|error| format!("at {}: {error}", world.now()));
            }
        });
        result
    }

    /// Lets time pass and tells which roles changed in it.
    pub(crate) fn count_role_changes(&mut self, time: Duration) -> Result<Vec<String>, String> {
        self.role_changes.clear();
        self.run_for(time)?;
        Ok(std::mem::take(&mut self.role_changes))
    }

    pub(crate) fn run_ms(&mut self, millis: u64) -> Result<(), String> {
        self.run_for(Duration::from_millis(millis))
    }
}

impl Deref for Checked {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Checked {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}
