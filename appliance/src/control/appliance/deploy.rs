//! Deploying, removing and scaling lambdas of a running appliance: gives [`Live`](super::live::Live) time until its lcores have followed.
//! One at a time.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use lnic_registry::LambdaKey;
use tokio::net::unix::pipe;
use tracing::warn;

use super::live::{DeployError, Deployed, Wanted};
use super::{Appliance, Event};
use crate::ids::LcoreId;

/// Generations that are prepared without giving others a turn.
const AT_A_TIME: usize = 16;
/// How often lcores are looked at that say nothing: one may have ended.
const LOOK: Duration = Duration::from_millis(20);

impl Appliance {
    /// Deploys lambdas, or new generations of those that are there; returns once every lcore leads to them, or has not answered for a
    /// second: such an lcore leads there when it looks, if all had taken them in, and else they fail. They are published together; one that fails does not hinder the others, and leaves nothing behind. What was there before
    /// drains afterwards, while [`look_after`](Self::look_after) is called. Results are in the order of what was wanted.
    pub async fn deploy(&mut self, wanted: Vec<Wanted>) -> Vec<Result<Deployed, DeployError>> {
        self.live.begin();
        for (at, wanted) in (1..).zip(wanted) {
            self.live.prepare(wanted);
            if at % AT_A_TIME == 0 {
                self.live.advance();
                tokio::task::yield_now().await;
            }
        }
        self.live.complete();
        let silent = self.follow(|appliance| appliance.live.is_published()).await;
        let done = self.live.finish(silent);
        if let Some(lcore) = done.iter().flatten().find_map(|deployed| deployed.silent) {
            late(lcore);
        }
        done
    }

    /// Removes a lambda: nothing new reaches it from then on, what is under way ends. An lcore that does not answer follows when it looks.
    pub async fn remove(&mut self, key: &LambdaKey) -> Result<(), DeployError> {
        let removed = self.live.remove(&[key]).pop().unwrap_or(Ok(()));
        removed?;
        self.in_force().await;
        Ok(())
    }

    /// Runs a lambda on at most so many NPUs, all that may if `None`; with 0 it sleeps until a request comes. Its memory stays where
    /// some of it runs on. Returns how many NPUs may run it now.
    pub async fn scale(&mut self, key: &LambdaKey, replicas: Option<u32>) -> Result<u32, DeployError> {
        if replicas == Some(0) {
            self.live.sleep(key)?;
            self.in_force().await;
            return Ok(0);
        }
        if self.live.begin_scale(key, replicas)? {
            return self.one().await;
        }
        Ok(self.live.replicas(key).unwrap_or(0))
    }

    /// Wakes a lambda that sleeps; requests that wait for it go on. Returns how many NPUs may run it now.
    pub async fn wake(&mut self, key: &LambdaKey) -> Result<u32, DeployError> {
        if self.live.begin_wake(key)? {
            return self.one().await;
        }
        Ok(self.live.replicas(key).unwrap_or(0))
    }

    /// Waits until an lcore has something to say: [`look_after`](Self::look_after) then, and do not wait for the next time.
    pub async fn rung(&self) -> Result<(), DeployError> {
        let bell = self.live.bell();
        let descriptor: OwnedFd = bell.as_fd().try_clone_to_owned()?;
        pipe::Receiver::from_owned_fd(descriptor)?.readable().await?;
        bell.answer();
        Ok(())
    }

    /// Whose λ-RPC ID it is, and the number of its generation; also of a lambda that was removed while something of it is under way.
    #[must_use]
    pub fn lambda_of_id(&self, id: u32) -> Option<(LambdaKey, u64)> {
        self.live.lambda_of_id(id)
    }

    /// The result of a batch of one.
    async fn one(&mut self) -> Result<u32, DeployError> {
        let silent = self.follow(|appliance| appliance.live.is_published()).await;
        let deployed = self.live.finish(silent).pop().transpose()?;
        if let Some(lcore) = deployed.and_then(|deployed| deployed.silent) {
            late(lcore);
        }
        Ok(deployed.map_or(0, |deployed| deployed.replicas))
    }

    /// Waits until every lcore that answers looks at the last view.
    async fn in_force(&mut self) {
        if let Some(lcore) = self.follow(|appliance| appliance.live.is_in_force()).await {
            late(lcore);
        }
    }

    /// Gives time until it is done, or only lcores that do not answer are missing: one of them.
    async fn follow(&mut self, is_done: impl Fn(&Self) -> bool) -> Option<LcoreId> {
        loop {
            self.live.advance();
            if is_done(self) {
                return None;
            }
            if let Some(silent) = self.live.silent().filter(|_| self.live.have_others_answered()) {
                return Some(silent);
            }
            // Whatever fails about waiting, it is looked again soon.
            let _ = tokio::time::timeout(LOOK, self.rung()).await;
            let events: Vec<Event> = self.bury_dead();
            self.live.note(events);
        }
    }
}

/// What is in force for all others reaches this one when it looks into its box.
fn late(lcore: LcoreId) {
    warn!("{lcore} does not answer: what has changed is in force for the others, and for it when it looks");
}
