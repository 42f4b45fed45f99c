//! What lcores look at: all rules as a table, and lambdas by ID.

use std::sync::Arc;

use dpdk_bindings::external::Slot;

use super::Live;
use super::deployed::{Generation, Order};
use super::worker::Sent;
use crate::control::stats::{DeploymentStats, LambdaSource, ServiceStats};
use crate::control::topology::Topology;
use crate::frame::Frame;
use crate::ids::{LambdaRef, LambdaSlot};
use crate::matcher::{Directory, Reduction, Rule, Table};
use crate::message::slots::MessageIds;
use crate::parser::HeaderSet;
use crate::path::{Command, View};

impl Generation {
    /// What statistics show of it.
    pub(super) fn source(&self, topology: &Topology) -> LambdaSource {
        let spec = self.spec();
        let island = |island: &crate::ids::IslandId| topology.islands[island.index()].name.clone();
        LambdaSource {
            key: self.key().clone(),
            generation: self.wanted.generation,
            id: spec.id,
            weight: spec.weight,
            budget_us: spec.budget_us,
            concurrency: self.concurrency(),
            replicas: self.replicas(),
            islands: spec.islands.iter().map(island).collect(),
            services: spec.services.iter().map(|service| ServiceStats::of(service, topology)).collect(),
            inspection: self.inspection(),
            slot: self.reference.slot,
            account: self.account.clone(),
        }
    }
}

impl<F: Frame<External = Slot>> Live<F> {
    /// Publishes what is deployed now to every lcore.
    pub(super) fn publish(&mut self, passed_on: &[(LambdaRef, LambdaRef)]) {
        let mut rules: Vec<&(Order, Rule)> = self.lambdas.values().flat_map(|lambda| &lambda.rules).collect();
        rules.sort_by_key(|(order, _)| *order);
        let rules: Vec<Rule> = rules.into_iter().map(|(_, rule)| rule.clone()).collect();
        // Each lambda's rules were judged, and there are no more than a table holds.
        let (table, reduction) =
            Table::reduced(rules).unwrap_or_else(|_| (Table::empty(), Reduction::default()));
        let table = Arc::new(table);
        let directory = self.lambdas.values().map(|lambda| (lambda.spec().id, lambda.reference));
        let directory = Arc::new(Directory::new(directory));
        let current = self.lambdas.values().filter_map(|lambda| Some((lambda.spec().id, lambda.place?)));
        // What began before its lambda sleeps is still to end.
        let falling_asleep = self
            .formers
            .iter()
            .filter(|it| it.sleeps())
            .filter_map(|former| Some((former.id, former.place?)));
        let has_place = |id| self.ids.get(&id).and_then(|key| self.lambdas.get(key)).is_some();
        let removed =
            self.formers.iter().filter(|former| former.place.is_some() && !has_place(former.id.raw()));
        let ids = Arc::new(MessageIds::new(current.chain(falling_asleep), removed.map(|former| former.id)));
        let passed_on: Vec<(LambdaSlot, LambdaRef)> =
            passed_on.iter().map(|(from, to)| (from.slot, *to)).collect();
        self.view += 1;
        for worker in &mut self.workers {
            let view = View {
                table: Arc::clone(&table),
                directory: Arc::clone(&directory),
                ids: Arc::clone(&ids),
                passed_on: passed_on.clone(),
            };
            worker.send(Command::Publish(Box::new(view)), Sent::Publish(self.view));
        }
        let extracted = self.lambdas.values().fold(HeaderSet::NONE, |set, lambda| set.with(lambda.headers()));
        let images = self.lambdas.values().map(|lambda| &lambda.ready().image);
        let code = super::super::coalesce::Coalesced::of(images);
        self.stats.derive(DeploymentStats::new(&table, &reduction, extracted, code));
    }

    /// Does every lcore look at this view, or a later one?
    pub(super) fn all_look_at(&self, view: u64) -> bool {
        self.workers.iter().all(|worker| worker.is_dead || worker.view >= view)
    }

    /// Does every lcore look at the last view?
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.all_look_at(self.view)
    }
}
